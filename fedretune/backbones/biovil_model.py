"""BioViL's two towers, built from torchvision and transformers by the names in its weights.

Boecking et al., ECCV 2022 (arXiv 2204.09817). The image vector is the mean over the last feature
map of a projection of each of its cells (1x1 convolutions, so not the projection of the mean); the
text vector is a projection of the last layer at [CLS]. Neither is normalised.
"""

from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BertTokenizer

from fedretune.backbones.biovil import PREPROCESSING, BiovilSource
from fedretune.backbones.model import Towers
from fedretune.backbones.weights import read_tensors
from fedretune.errors import UserError

#: Beginnings of names that no vector needs: ImageNet's classes, downstream classifiers, masked
#: words, and what transformers no longer stores.
_UNUSED = (
    "encoder.encoder.fc.",
    "classifier.",
    "cls.",
    "bert.pooler.",
    "bert.embeddings.position_ids",
)


class Biovil(nn.Module):
    """Both towers, their parts named as in the weights.

    Parameters
    ----------
    config : BertConfig
    dim : int
        Length of a vector.
    """

    def __init__(self, config: BertConfig, dim: int) -> None:
        super().__init__()
        resnet = torchvision.models.resnet50()
        resnet.fc = nn.Identity()
        self.image = nn.ModuleDict(
            {
                "encoder": nn.ModuleDict({"encoder": resnet}),
                "projector": nn.ModuleDict({"model": _projector(2048, dim)}),
            }
        )
        self.text = nn.ModuleDict(
            {
                "bert": BertModel(config, add_pooling_layer=False),
                "cls_projection_head": nn.ModuleDict(
                    {
                        "dense_to_hidden": nn.Linear(config.hidden_size, dim),
                        "LayerNorm": nn.LayerNorm(dim, eps=1e-12),
                        "dense_to_output": nn.Linear(dim, dim),
                    }
                ),
            }
        )
        self.vocab_size = config.vocab_size
        self.pad = int(config.pad_token_id or 0)

    def encode_image(self, images: Tensor) -> Tensor:
        """Return vectors ``[B, d]`` of ``[B, 3, H, W]``."""
        resnet: Any = self.image["encoder"]["encoder"]  # type: ignore[index]
        x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images))))
        cells = resnet.layer4(resnet.layer3(resnet.layer2(resnet.layer1(x))))
        projected: Tensor = self.image["projector"]["model"](cells)  # type: ignore[index]
        return projected.mean((2, 3))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return vectors ``[N, d]`` of token ids ``[N, L]``, padded at the end."""
        mask = tokens.ne(self.pad).long()
        found = self.text["bert"](input_ids=tokens, attention_mask=mask)
        head: Any = self.text["cls_projection_head"]
        hidden = nn.functional.gelu(head["dense_to_hidden"](found.last_hidden_state[:, 0]))
        vectors: Tensor = head["dense_to_output"](head["LayerNorm"](hidden))
        return vectors


class Tokenizer:
    """From sentences to ids ``[N, L]``, padded to the longest and cut at what BERT can read.

    Parameters
    ----------
    folder : Path
    length : int
        The most tokens of a sentence.
    """

    def __init__(self, folder: Path, length: int) -> None:
        self.tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
        self._length = length

    def __call__(self, texts: list[str]) -> Tensor:
        """Return int64 ids."""
        tokens: Tensor = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self._length, return_tensors="pt"
        ).input_ids
        return tokens


def load(source: BiovilSource) -> Towers:
    """Return both towers with their weights, and the tokenizer.

    Raises
    ------
    UserError
        Weights that cannot be read or do not fit; names the first keys that differ.
    """
    from fedretune.backbones.open_clip_model import check_vocabulary

    try:
        config = BertConfig.from_dict({**source.config, "model_type": "bert"})
        model = Biovil(config, source.dim)
        tokenizer = Tokenizer(source.folder, config.max_position_embeddings)
    except Exception as error:  # what a broken config or vocabulary raises is open
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise UserError(f"Cannot build BioViL from {source.folder}: {reason}") from error
    _fill(model.image, source.image)
    _fill(model.text, source.text)
    check_vocabulary(f"biovil:{source.folder}", tokenizer, model)
    return Towers(model, PREPROCESSING, tokenizer)


def _projector(wide: int, dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(wide, dim, 1, bias=False),
        nn.BatchNorm2d(dim),
        nn.ReLU(inplace=True),
        nn.Conv2d(dim, dim, 1),
    )


def _fill(tower: nn.Module, path: Path) -> None:
    tensors = {
        name: value for name, value in read_tensors(path).items() if not name.startswith(_UNUSED)
    }
    try:
        tower.load_state_dict(tensors)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise UserError(
            f"{path} does not hold the weights that were expected: {' '.join(lines)[:400]}"
        ) from error
