"""The row `embedding` with an image tower of the size that hospitals use."""

import json
from dataclasses import replace
from pathlib import Path

from fedretune.bench.frame import Case
from fedretune.bench.options import Options
from fedretune.bench.rows import embedding

#: About 2.4 images each: a ViT-B/16 encodes a few a second on a CPU.
_PATIENTS = 10
#: CLIP's ViT-B/16. The text tower is not used here, and only as large as it must be.
MODEL = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 64,
        "heads": 1,
        "layers": 1,
    },
}


def row(options: Options) -> Case:
    """The row `embedding` on a ViT-B/16 of random weights, which cost what trained ones cost."""
    folder = write_model(options.folder / "vit-b-16", MODEL)
    scale = replace(options.scale, embedded=_PATIENTS)
    case = embedding.row(replace(options, backbone=f"local-dir:{folder}", scale=scale))
    side = replace(case.a, what=f"{case.a.what}, by a ViT-B/16 of random weights")
    return replace(case, a=side, repeats=3)


def write_model(folder: Path, model: dict[str, object]) -> Path:
    """Write an open_clip folder of random weights with open_clip's own tokenizer; return it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**model).state_dict(), folder / "open_clip_model.safetensors")
    content = {"model_cfg": model, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return folder
