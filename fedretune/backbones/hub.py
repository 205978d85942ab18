"""Fetching backbones from the internet, only ever after an explicit yes."""

from pathlib import Path
from typing import Any

from fedretune.backbones.open_clip_source import CONFIG, read_config
from fedretune.errors import UserError
from fedretune.paths import cache_folder

_PATTERNS = ("README.md", "*.json", "*.txt", "*.model", "open_clip*.safetensors", "open_clip*.bin")


def fetch_repository(repository: str) -> Path:
    """Download an open_clip repository of the Hugging Face hub into a folder that works offline.

    Its text tower's ``config.json`` is fetched along with it where the repository has none, which
    makes the folder complete.

    Raises
    ------
    UserError
        It cannot be fetched.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    folder = cache_folder() / "backbones" / repository.replace("/", "--")
    try:
        snapshot_download(repository, local_dir=folder, allow_patterns=list(_PATTERNS))
        text = read_config(folder / CONFIG).get("model_cfg", {}).get("text_cfg", {})
        if (tower := text.get("hf_model_name")) and not (folder / "config.json").is_file():
            hf_hub_download(tower, "config.json", local_dir=folder)
    except (OSError, ValueError) as error:  # the hub's own errors are one or the other
        raise _not_fetched(f"hf-hub:{repository}", error) from error
    return folder


def fetch_weights(model: str, tag: str) -> tuple[Path, dict[str, Any]]:
    """Download the weights that open_clip knows as `tag`; return them and their preprocessing.

    Raises
    ------
    UserError
        No such tag, weights of another activation than the config's, or a failed download.
    """
    import open_clip

    known = open_clip.list_pretrained_tags_by_model(model)
    if tag not in known:
        raise UserError(
            f"The open_clip model '{model}' has no weights '{tag}'. Write {model}/TAG, TAG one of: "
            f"{', '.join(known) or 'none; bring a file of weights and write ' + model + '//FILE'}."
        )
    config = open_clip.get_pretrained_cfg(model, tag)
    if config.get("quick_gelu", False) != open_clip.get_model_config(model).get(
        "quick_gelu", False
    ):
        raise UserError(
            f"The weights '{tag}' need another activation than '{model}' has: try "
            f"{model.removesuffix('-quickgelu')}/{tag} or {model}-quickgelu/{tag}."
        )
    try:
        return Path(open_clip.download_pretrained(config)), dict(config)
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_fetched(f"{model}/{tag}", error) from error


def _not_fetched(name: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(
        f"Cannot fetch the backbone '{name}': {reason}. Is there an internet connection? Otherwise "
        "bring its files and name local-dir:/their/folder."
    )
