"""The files of an open_clip model, checked before anything heavy is imported.

open_clip is lenient where a federation cannot be: a folder without tokenizer files gives a
five-token vocabulary, one without weights a random model, and a text tower named by a hub address
is looked up there whatever the folder holds. All three are errors or are mended here.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedretune.errors import UserError

if TYPE_CHECKING:
    from fedretune.backbones.model import Towers

CONFIG = "open_clip_config.json"

#: File names of weights, the one to prefer first: open_clip's own order.
_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)

#: Files that hold a tokenizer's vocabulary: any one will do.
_VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
#: Those, and the files that may change what it does.
TOKENIZER = (
    *_VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)

#: open_clip's preprocessing where a config says nothing (its `PreprocessCfg`; mean and std are
#: those of OpenAI's CLIP).
_PREPROCESSING: dict[str, Any] = {
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
    "size": [224, 224],
}


@dataclass(frozen=True)
class OpenClipSource:
    """The files behind a backbone's name.

    Parameters
    ----------
    open_clip_name : str
        What open_clip's model and tokenizer factories are asked for.
    folder : Path | None
        Where config and tokenizer are; None for a config that comes with open_clip.
    config : Path
        JSON with ``model_cfg`` and ``preprocess_cfg``, or a bare model config.
    weights : Path
    tokenizer : tuple[Path, ...]
        Every file that decides the tokens.
    preprocess_cfg : dict | None
        Preprocessing that belongs to the weights where the config has none.
    """

    open_clip_name: str
    folder: Path | None
    config: Path
    weights: Path
    tokenizer: tuple[Path, ...]
    preprocess_cfg: dict[str, Any] | None = None

    @cached_property
    def content(self) -> dict[str, Any]:
        """The config file as a dict."""
        return read_config(self.config)

    @property
    def model_cfg(self) -> dict[str, Any]:
        """open_clip's model config: ``embed_dim``, ``vision_cfg``, ``text_cfg``."""
        return dict(self.content.get("model_cfg", self.content))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.model_cfg["embed_dim"])

    @property
    def reads_text(self) -> bool:
        """Always True: an open_clip model has two towers."""
        return True

    def preprocessing(self) -> str:
        """Return canonical JSON of the preprocessing that the config and the weights ask for."""
        given = self.preprocess_cfg or self.content.get("preprocess_cfg", {})
        known = {k: v for k, v in given.items() if k in _PREPROCESSING and v is not None}
        # The model's size, always as a pair, wins over that of the preprocessing: so in open_clip.
        size = self.model_cfg["vision_cfg"].get("image_size", 224)
        pair = [size, size] if isinstance(size, int) else list(size)
        merged = {**_PREPROCESSING, **known, "size": pair}
        return json.dumps(merged, sort_keys=True, separators=(",", ":"))

    def files(self) -> tuple[Path, ...]:
        """Return every file that decides the embedding."""
        text = self.model_cfg["text_cfg"]
        tower = ("config.json",) if self.folder and text.get("hf_model_name") else ()
        return (
            self.config,
            self.weights,
            *self.tokenizer,
            *(self.folder / name for name in tower if self.folder),
        )

    def load(self) -> "Towers":
        """Return the model, its tokenizer and its transform; see `open_clip_model`."""
        from fedretune.backbones.open_clip_model import load

        return load(self)


def from_hub(repository: str, allow_hub: bool) -> OpenClipSource:
    """Return the files of a repository of the Hugging Face hub, fetched if that is allowed."""
    _require_hub(f"hf-hub:{repository}", allow_hub)
    from fedretune.backbones.hub import fetch_repository

    return from_folder(fetch_repository(repository))


def from_folder(folder: Path) -> OpenClipSource:
    """Return the files of an open_clip folder. Raises `UserError` naming all that it lacks."""
    folder = folder.absolute()
    if not folder.is_dir():
        raise UserError(f"There is no backbone folder {folder}.")
    model_cfg = read_config(folder / CONFIG).get("model_cfg")
    if model_cfg is None:
        raise UserError(f"{folder / CONFIG} has no 'model_cfg': it is no open_clip config.")
    text = model_cfg["text_cfg"]
    weights = _weights(folder)
    own = bool(text.get("hf_tokenizer_name"))
    lacking = [
        *(_text_tower_lacks(folder, text) if text.get("hf_model_name") else []),
        *(_tokenizer_lacks(folder) if own else []),
        *(_weights_lack(folder) if weights is None else []),
    ]
    if lacking or weights is None:
        raise UserError(f"The backbone folder {folder} is not complete. " + " ".join(lacking))
    tokenizer = _tokenizer_files(folder) if own else (_open_clip_bpe(),)
    return OpenClipSource(f"local-dir:{folder}", folder, folder / CONFIG, weights, tokenizer)


def read_config(path: Path) -> dict[str, Any]:
    """Return an open_clip config. Raises `UserError` if it is missing or not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"Cannot read the backbone's config {path} ({error.strerror}). An open_clip folder "
            f"holds {CONFIG}, weights and tokenizer files."
        ) from error
    except ValueError as error:
        raise UserError(f"The backbone's config {path} is not valid JSON: {error}.") from error
    model = content.get("model_cfg", content) if isinstance(content, dict) else {}
    if lacking := [k for k in ("embed_dim", "vision_cfg", "text_cfg") if k not in model]:
        raise UserError(f"The backbone's config {path} lacks {', '.join(lacking)}.")
    return dict(content)


def _weights(folder: Path) -> Path | None:
    """Return the file of weights: one that open_clip would take, or else the only one."""
    files = _weight_files(folder)
    preferred = [folder / name for name in _WEIGHTS if folder / name in files]
    return [*preferred, *files][0] if preferred or len(files) == 1 else None


def _weight_files(folder: Path) -> list[Path]:
    return [path for suffix in ("safetensors", "bin", "pth") for path in folder.glob(f"*.{suffix}")]


def _weights_lack(folder: Path) -> list[str]:
    found = ", ".join(sorted(path.name for path in _weight_files(folder))) or "none"
    return [
        f"It must hold one file of weights, such as {_WEIGHTS[0]} (found: {found}): without them "
        "the model would be random."
    ]


def _tokenizer_files(folder: Path) -> tuple[Path, ...]:
    return tuple(folder / name for name in TOKENIZER if (folder / name).is_file())


def _tokenizer_lacks(folder: Path) -> list[str]:
    if any((folder / name).is_file() for name in _VOCABULARIES):
        return []
    return [
        f"It has no tokenizer: put {' or '.join(_VOCABULARIES[:2])} of its text model there, with "
        "tokenizer_config.json."
    ]


def _text_tower_lacks(folder: Path, text: dict[str, Any]) -> list[str]:
    """Return what keeps a Hugging Face text tower from being built, and its text from being read.

    The weights of that tower are in the folder's own file: of its repository only the config is
    needed, and perhaps the tokenizer.
    """
    model, lacking = text["hf_model_name"], []
    if not text.get("hf_tokenizer_name"):
        lacking.append(
            f"In {CONFIG}, text_cfg has hf_model_name and no hf_tokenizer_name, so its text would "
            f'be cut by another model\'s tokenizer: set it to "{model}".'
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    if not isinstance(config, dict) or "model_type" not in config:
        lacking.append(
            f"It lacks its text tower's config: put the config.json of '{model}' there (it has a "
            "'model_type')."
        )
    return lacking


def from_open_clip(name: str, allow_hub: bool) -> OpenClipSource:
    """Return the files of ``MODEL/TAG``, or of ``MODEL//path/to/weights``."""
    model, _, weights = name.partition("/")
    config = _open_clip_folder() / "model_configs" / f"{model}.json"
    if not config.is_file():
        raise UserError(
            f"Unknown backbone '{name}'. Give phantom-clip, an open_clip folder's path "
            "(local-dir:/a/folder), an open_clip name such as ViT-B-32/openai, or another that "
            "'fedretune backbones list' shows."
        )
    if (path := Path(weights).expanduser()).is_file():
        return OpenClipSource(model, None, config, path, (_open_clip_bpe(),))
    _require_hub(name, allow_hub)
    from fedretune.backbones.hub import fetch_weights

    path, preprocess_cfg = fetch_weights(model, weights)
    return OpenClipSource(model, None, config, path, (_open_clip_bpe(),), preprocess_cfg)


def _require_hub(name: str, allow_hub: bool) -> None:
    if not allow_hub:
        raise UserError(
            f"The backbone '{name}' has to be fetched from the internet, which is not allowed "
            "unless you ask for it (--allow-hub, allow-hub = true). Or bring its files yourself "
            "and name local-dir:/their/folder."
        )
    # The command line sets it; whoever asks for the hub has taken that back.
    os.environ["HF_HUB_OFFLINE"] = "0"


def _open_clip_folder() -> Path:
    spec = find_spec("open_clip")  # finds the package without importing it, and torch with it
    if spec is None or spec.origin is None:
        raise UserError("open_clip is not installed: pip install open_clip_torch.")
    return Path(spec.origin).parent


def _open_clip_bpe() -> Path:
    return _open_clip_folder() / "bpe_simple_vocab_16e6.txt.gz"
