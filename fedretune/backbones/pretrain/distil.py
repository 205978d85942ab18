"""A small open_clip model whose image tower is a vision transformer, taught by phantom-clip.

phantom-clip's image tower is a ResNet, into which no LoRA goes. Contrast with reports teaches a
transformer little in minutes; phantom-clip's vectors of the same phantoms say far more of each. The
text tower is phantom-clip's own, so the two stay aligned.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedretune.backbones.pretrain import Report, filled
from fedretune.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

#: The image tower: 64 patches of 16 pixels, and a class token.
VISION = {"image_size": 128, "layers": 4, "width": 64, "patch_size": 16, "head_width": 32}
#: Steps, and patients to draw (about 2.4 images each), in a minute of two idle cores.
STEPS_PER_MINUTE, PATIENTS_PER_MINUTE = 300, 1_000
_BATCH, _HELD_OUT = 64, 0.1
#: More of them wait for each other on a busy machine: ten times slower was measured.
_THREADS = 1
_CARD = """# phantom-vit

A small open_clip model for tests and demonstrations, of no medical use. Image tower: open_clip's
ViT, {parameters:,} parameters, 128 x 128, patches of 16. It was taught to give phantom-clip's
vectors of {images:,} phantoms ({patients:,} patients, seed {seed}) in {steps} steps of {batch}; of
their variance it explains {explained:.3f} on images that were held out. Text tower and tokenizer:
phantom-clip's own.
"""


@dataclass(frozen=True)
class Distilling:
    """How long: `patients` (about 2.4 images each) and `steps`."""

    patients: int
    steps: int

    @classmethod
    def of(cls, minutes: float) -> "Distilling":
        """Return what takes about so many minutes on two idle cores. Raises `UserError`."""
        if not 0.5 <= minutes <= 600.0:
            raise UserError(f"--minutes is {minutes}; give a number from 0.5 to 600.")
        patients = min(6_000, round(minutes * PATIENTS_PER_MINUTE))
        return cls(patients, round(minutes * STEPS_PER_MINUTE))


def distil(folder: Path, how: Distilling, seed: int, report: Report) -> Path:
    """Write the model into `folder`: config, tokenizer, float16 weights, model card.

    Raises
    ------
    UserError
        If `folder` is not empty or cannot be written.
    """
    return filled(folder, _THREADS, lambda draft: _make(draft, how, seed, report))


def _make(draft: Path, how: Distilling, seed: int, report: Report) -> None:
    import torch

    from fedretune.backbones import load_backbone
    from fedretune.backbones.pretrain import folder, learn
    from fedretune.data.phantoms import render_cohort

    _, films = render_cohort(
        how.patients,
        16,
        seed,
        int(str(VISION["image_size"])),
        "pretraining",
        lambda done, total: report("Rendering", done, total, "images"),
    )
    teacher = load_backbone("phantom-clip", "cpu")
    with torch.inference_mode():
        parts = (learn.as_input(films[i : i + 200]) for i in range(0, len(films), 200))
        wanted = torch.cat([_direction(teacher.model.encode_image(part)) for part in parts])
    model = folder.new_model(seed, VISION)
    text = {n: each for n, each in teacher.model.state_dict().items() if "visual." not in n}
    model.load_state_dict(text, strict=False)
    fit = round(len(films) * (1 - _HELD_OUT))
    _teach(model.visual, films[:fit], wanted[:fit].clone(), how.steps, seed, report)
    explained = 1 - float(_missed(learn.outputs(model.visual, films[fit:]), wanted[fit:], wanted))
    folder.write_tokenizer(draft, VISION)
    folder.write_weights(draft, model)
    content = _CARD.format(
        parameters=sum(each.numel() for each in model.visual.parameters()),
        images=fit,
        patients=how.patients,
        seed=seed,
        steps=how.steps,
        batch=_BATCH,
        explained=explained,
    )
    (draft / "MODEL_CARD.md").write_text(content, encoding="utf-8")


def _teach(
    tower: "nn.Module",
    films: NDArray[np.uint8],
    wanted: "Tensor",
    steps: int,
    seed: int,
    report: Report,
) -> None:
    """Train an image tower in place to give these directions ``[n, d]``."""
    from fedretune.backbones.pretrain import learn

    rng = np.random.default_rng(seed)
    optimizer, schedule = learn.optimizer_of(tower, steps)
    tower.train()
    for step, index in enumerate(learn.batches(len(films), _BATCH, steps, rng)):
        loss = _missed(tower(learn.augmented(films[index], rng)), wanted[index], wanted)
        learn.update(optimizer, schedule, loss)
        report("Training", step + 1, steps, f"loss {loss.item():.3f}")
    tower.eval()


def _missed(vectors: "Tensor", wanted: "Tensor", of: "Tensor") -> "Tensor":
    """Return the share of the variance of the directions `of` that vectors miss of those wanted."""
    spread = (of - of.mean(0)).square().sum(1).mean()
    return (_direction(vectors) - wanted).square().sum(1).mean() / spread


def _direction(vectors: Any) -> "Tensor":
    from torch.nn.functional import normalize

    return normalize(vectors.float(), dim=-1)
