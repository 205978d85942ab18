"""How good a backbone is: before any training here, and what its frozen vectors still hold."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedretune.backbones import load_backbone
from fedretune.backbones.pretrain.learn import outputs
from fedretune.findings import NIH14
from fedretune.metrics import exact_auroc
from fedretune.objectives.difference import scores
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.prompts import load_prompts

Aurocs = NDArray[np.float64]

_BATCH, _EPOCHS, _HIDDEN = 256, 40, 256


def embed(folder: Path, films: NDArray[np.uint8]) -> tuple[Tensor, PromptEmbeddings]:
    """Return the vectors ``[n, d]`` of images by a folder's model, and the prompts'."""
    backbone = load_backbone(f"local-dir:{folder.resolve()}", device="cpu")
    images = outputs(backbone.encode_images, films)
    pairs = [load_prompts("precursor").texts(finding) for finding in NIH14]
    positive, negative = (
        torch.stack([backbone.encode_texts(pair[side]) for pair in pairs]) for side in (0, 1)
    )
    return images, PromptEmbeddings(positive, negative, NIH14)


def zero_shot(images: Tensor, prompts: PromptEmbeddings, labels: NDArray[Any]) -> Aurocs:
    """Return the AUROC of each finding, ``[14]``, by the difference of the prompts' cosines."""
    return exact_auroc(scores(None, images, prompts)["difference"].numpy(), labels)


def probe(
    train: tuple[Tensor, NDArray[Any]], test: tuple[Tensor, NDArray[Any]], seed: int
) -> Aurocs:
    """Return the AUROC of each finding by a small MLP trained on the frozen vectors."""
    torch.manual_seed(seed)
    mean, std = train[0].mean(0), train[0].std(0) + 1e-6
    x, y = (train[0] - mean) / std, torch.tensor(train[1], dtype=torch.float32)
    head = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], _HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(_HIDDEN, y.shape[1]),
    )
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(_EPOCHS):
        for index in torch.split(torch.randperm(len(x)), _BATCH):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(head(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.inference_mode():
        return exact_auroc(head.eval()((test[0] - mean) / std).numpy(), test[1])
