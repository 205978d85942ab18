"""What stands for the study's models and data where only its shape is wanted: `--quick`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.data.manifest import load_manifest, write_manifest
from fedretune.data.phantoms import render_cohort, write
from fedretune.paths import writing
from fedretune.study.lora.datasets import DATA_SETS
from fedretune.study.lora.manifests import at_ratio, manifest_path
from fedretune.study.lora.recipes import MODELS, Model, model_of
from fedretune.training import one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

Films = NDArray[Any]

#: Phantoms to tune and test on, and how many epochs of them.
PATIENTS, SITES, EPOCHS, WARM_UP = 240, 3, 4, 1
#: Phantoms of other patients that the stand-ins are trained on, and how.
PRETRAINING, STEPS, BATCH = 900, 180, 64
#: A ViT of the study's shape, small: 49 patches of 32 pixels, and a class token.
WIDTH, DEPTH, PATCH, IMAGE = 64, 4, 32, 224
#: Pixels of each side of a phantom: what phantom-clip is used to.
DRAWN = 128
#: Rates for full fine-tuning where the study's are not known: those of the tasks that are.
FFT_LR = {"mrm": 0.01, "cxr-mae": 5e-4}
#: CheXpert's name for a finding where NIH has another.
_RENAMED = {"Pleural Effusion": "Effusion"}


def draw(out: Path) -> Path:
    """Draw the phantoms, once; return their manifest."""
    manifest = out / "manifest.csv"
    return manifest if manifest.is_file() else write(out, PATIENTS, SITES, seed=0, size=DRAWN)


def write_phantom_manifests(phantoms: Path, ratios: Sequence[int], out: Path) -> None:
    """Write the manifests of each data set, all of the same phantoms, with its findings alone.

    The phantoms' own splits, which share no patient, stay.
    """
    manifest = load_manifest(phantoms)
    images = [str(path) for path in manifest.images]
    for data in DATA_SETS.values():
        names = {finding: _RENAMED.get(finding, finding) for finding in data.findings}
        labels = {finding: manifest.table[name] for finding, name in names.items()}
        fixed = manifest.table[["patient", "split", "site"]]
        table = pd.concat([fixed.assign(image=images), pd.DataFrame(labels)], axis=1)
        for ratio in ratios:
            write_manifest(at_ratio(data, table, ratio), manifest_path(out, data, ratio))


def write_stand_ins(out: Path) -> None:
    """Write a checkpoint for each of the study's models, by the names of theirs, if not there.

    Each is a ViT of 4 blocks, 64 wide, that phantom-clip has taught to give its vectors of other
    phantoms, for some seconds: enough that it sees something, and no more.
    """
    wanted = [name for name in MODELS if not (out / model_of(name).checkpoint).is_file()]
    if not wanted:
        return
    _, films = render_cohort(PRETRAINING, SITES, 1, DRAWN, "pretraining")
    told = _teacher_says(films)
    for name in wanted:
        _teach(model_of(name), films, told, out / model_of(name).checkpoint)


@one_thread()
def _teacher_says(films: Films) -> "Tensor":
    """Return phantom-clip's vectors ``[n, d]`` of films, each number of mean 0 and spread 1."""
    import torch

    from fedretune.backbones import load_backbone
    from fedretune.backbones.pretrain.learn import as_input

    teacher = load_backbone("phantom-clip", "cpu")
    starts = range(0, len(films), BATCH)
    parts = [teacher.encode_images(as_input(films[start : start + BATCH])) for start in starts]
    vectors = torch.nn.functional.normalize(torch.cat(parts), dim=-1)
    return (vectors - vectors.mean(0)) / vectors.std(0).clamp_min(1e-6)


@one_thread()
def _teach(model: Model, films: Films, told: "Tensor", path: Path) -> None:
    import torch

    from fedretune.backbones.pretrain import learn

    seed = MODELS.index(model.name)
    vit = _new_vit(told.shape[1], seed)
    optimizer, schedule = learn.optimizer_of(vit, STEPS)
    order = learn.batches(len(films), BATCH, STEPS, np.random.default_rng(seed))
    for chosen in order:
        pixels = torch.from_numpy(films[chosen])[:, None].float() / 255
        images = torch.nn.functional.interpolate(pixels, IMAGE, mode="bicubic")
        images = (images.expand(-1, 3, -1, -1) - model.mean) / model.std
        learn.update(optimizer, schedule, (vit(images) - told[chosen]).square().mean())
    trained = vit.state_dict().items()
    tensors = {name: each for name, each in trained if not name.startswith(("fc_norm.", "head."))}
    with writing(path) as file:
        torch.save({"model": tensors}, file)


def _new_vit(outputs: int, seed: int) -> "nn.Module":
    import torch
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return VisionTransformer(
            img_size=IMAGE,
            patch_size=PATCH,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=WIDTH // 64,
            num_classes=outputs,
            global_pool="avg",
            fc_norm=True,
        )
