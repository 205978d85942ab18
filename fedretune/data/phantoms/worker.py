"""Render a share of a cohort in a process of its own: ``python -m fedretune.data.phantoms.worker``.

A fresh interpreter, rather than a fork, is safe beside torch's and Ray's threads.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image as Pillow

from fedretune.data.phantoms.cohort import sample_cohort
from fedretune.data.phantoms.drawing import draw_row
from fedretune.workers import cores

Progress = Callable[[int, int], None]
_REPORT = 64


def render_share(task: dict[str, Any]) -> None:
    """Render every `parts`-th image of a cohort from `part` on; stdout tells how many are done."""
    cohort = sample_cohort(task["patients"], task["sites"], task["seed"], task["namespace"])
    share = cohort.iloc[task["part"] :: task["parts"]]
    out = Path(task["out"])
    arrays = task["arrays"]
    stack = np.empty((len(share), task["size"], task["size"]), np.uint8) if arrays else None
    for k, row in enumerate(share.to_dict("records")):
        image = draw_row(row, task["seed"], task["size"], task["namespace"])
        if stack is None:
            Pillow.fromarray(image).save(out / str(row["image"]), compress_level=1)
        else:
            stack[k] = image
        if k % _REPORT == _REPORT - 1:
            print(_REPORT, flush=True)
    if stack is not None:
        np.save(out / f"{task['part']}.npy", stack)


def render_in_processes(task: dict[str, Any], total: int, progress: Progress | None) -> int:
    """Run `render_share` for all parts, one process a core, and return the number of parts.

    Raises `OSError` with the last line of its log if one fails.
    """
    parts = max(1, min(cores(), total // 200))
    children = [_start({**task, "part": part, "parts": parts}) for part in range(parts)]
    done, lock = [0], Lock()

    def follow(child: subprocess.Popen[str]) -> None:
        for line in child.stdout or ():
            with lock:
                done[0] += int(line)
                if progress:
                    progress(done[0], total)

    try:
        with ThreadPoolExecutor(parts) as pool:
            list(pool.map(follow, children))
        for child in children:
            log = child.stderr.read().strip() if child.stderr else ""
            if child.wait():
                raise OSError(f"a rendering process ended early: {log.splitlines()[-1:]}")
    finally:
        for child in children:
            child.kill()
            child.communicate()
    if progress:
        progress(total, total)
    return parts


def _start(task: dict[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fedretune.data.phantoms.worker", json.dumps(task)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


if __name__ == "__main__":
    render_share(json.loads(sys.argv[1]))
