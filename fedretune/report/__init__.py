"""What people read of runs: one HTML file, made from run folders alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedretune.errors import UserError

FILE = "report.html"


def write_report(
    runs: Sequence[Path], out: Path, defaults: Mapping[str, Any] | None = None
) -> Path:
    """Write the report of a run, or of several side by side, as one HTML file.

    Parameters
    ----------
    runs : sequence of Path
        Run folders, finished or not. One that is named twice counts once.
    out : Path
        The file; replaced if it exists.
    defaults : mapping | None (default: None)
        Of the keys, so that the command which runs it again names only what differs from them.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    UserError
        A folder is not a run's, or the file cannot be written.
    """
    from fedretune.paths import writing
    from fedretune.report.compare import compare
    from fedretune.report.page import render
    from fedretune.report.run import read_run
    from fedretune.report.single import report_of

    found = [read_run(path) for path in dict.fromkeys(path.resolve() for path in runs)]
    report = report_of(found[0], defaults) if len(found) == 1 else compare(found)
    try:
        with writing(out) as file:
            file.write(render(report).encode())
    except OSError as error:
        raise UserError(
            f"Cannot write {out} ({error.strerror or error}): choose another -o."
        ) from error
    return out
