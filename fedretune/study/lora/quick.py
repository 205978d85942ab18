"""What stands for the study's models and data where only its shape is wanted: `--quick`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.data.manifest import load_manifest, write_manifest
from fedretune.data.phantoms import render_cohort, write
from fedretune.findings import NIH14
from fedretune.paths import writing
from fedretune.study.lora.datasets import DATA_SETS
from fedretune.study.lora.manifests import at_ratio, manifest_path
from fedretune.study.lora.recipes import MODELS, model_of
from fedretune.training import one_thread

Films = NDArray[Any]

#: Phantoms to tune and test on, and how many epochs of them.
PATIENTS, SITES, EPOCHS, WARM_UP = 240, 3, 4, 1
#: Phantoms of other patients that the stand-ins are trained on, and how.
PRETRAINING, STEPS, BATCH, RATE = 900, 180, 64, 1e-3
#: A ViT of the study's shape, small: 49 patches of 32 pixels, and a class token.
WIDTH, DEPTH, PATCH, IMAGE = 64, 4, 32, 224
#: Rates for full fine-tuning where the study's are not known: those of the tasks that are.
FFT_LR = {"mrm": 0.01, "cxr-mae": 5e-4}
#: CheXpert's name for a finding where NIH has another.
_RENAMED = {"Pleural Effusion": "Effusion"}
#: Half of the findings, of which the stand-ins have been told.
_TOLD = NIH14[::2]


def draw(out: Path) -> Path:
    """Draw the phantoms, once; return their manifest."""
    manifest = out / "manifest.csv"
    return manifest if manifest.is_file() else write(out, PATIENTS, SITES, seed=0, size=IMAGE // 2)


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

    Each is a ViT of 4 blocks, 64 wide, that has learnt half of the findings of other phantoms for
    some seconds: enough that it sees something, and no more.
    """
    wanted = [name for name in MODELS if not (out / model_of(name).checkpoint).is_file()]
    if not wanted:
        return
    cohort, films = render_cohort(PRETRAINING, SITES, 1, IMAGE // 2, "pretraining")
    labels = cohort[list(_TOLD)].to_numpy(dtype=np.float32)
    for name in wanted:
        _pretrain(out / model_of(name).checkpoint, films, labels, MODELS.index(name))


@one_thread()
def _pretrain(path: Path, films: Films, labels: Films, seed: int) -> None:
    import torch
    from timm.models.vision_transformer import VisionTransformer

    model_about = model_of(MODELS[seed])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit = VisionTransformer(
            img_size=IMAGE,
            patch_size=PATCH,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=WIDTH // 64,
            num_classes=labels.shape[1],
            global_pool="avg",
            fc_norm=True,
        )
    optimizer = torch.optim.AdamW(vit.parameters(), lr=RATE)
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(len(films)), (STEPS, 1)), axis=1)
    for chosen in order[:, :BATCH]:
        pixels = torch.from_numpy(films[chosen])[:, None].float() / 255
        images = torch.nn.functional.interpolate(pixels, IMAGE, mode="bicubic")
        images = (images.expand(-1, 3, -1, -1) - model_about.mean) / model_about.std
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            vit(images), torch.from_numpy(labels[chosen])
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    trained = vit.state_dict().items()
    tensors = {name: each for name, each in trained if not name.startswith(("fc_norm.", "head."))}
    with writing(path) as file:
        torch.save({"model": tensors}, file)
