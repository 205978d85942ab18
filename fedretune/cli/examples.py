"""Examples under the help of each command; a test parses them all."""

import typer
from typer.models import CommandInfo

#: By the words behind ``fedretune``. Readers of manifests and `keys` bring their own.
EXAMPLES = {
    "run": ("run --sites 4 --experiences 5 --seed 1",),
    "simulate": (
        "simulate --sites 8 --experiences 10 --set partition=dirichlet --set alpha=0.3",
        "simulate --method lwf --scenario class-incremental --name forgets-less",
        "simulate --sites 10 --attack sign-flip --attackers 2 --set strategy=fedmedian",
    ),
    "evaluate": ("evaluate runs/NAME --json",),
    "report": (
        "report runs/NAME",
        "report runs/study-retune/runs/* -o compared.html",
    ),
    "privacy audit": ("privacy audit runs/NAME",),
    "privacy attack": ("privacy attack runs/NAME --attack lira",),
    "privacy budget": ("privacy budget runs/NAME",),
    "status": ("status runs/NAME",),
    "doctor": ("doctor --thorough",),
    "bench": ("bench --quick",),
    "study retune": (
        "study retune --quick",
        "study retune --scenarios class-incremental --methods retune,offsets,joint --seeds 1,2",
    ),
    "study attacks": ("study attacks --quick",),
    "study privacy": (
        "study privacy --quick",
        "study privacy --defences plain,epsilon-3 --shadows 300",
    ),
    "study lora": (
        "study lora --quick",
        "study lora --weights /models --data /data --fft-lr mrm=0.01 --fft-lr cxr-mae=5e-4",
    ),
    "embed": ("embed hospital.csv --backbone local-dir:/models/biomedclip",),
    "phantoms": ("phantoms my-phantoms --patients 100 --sites 2",),
    "manifest check": ("manifest check hospital.csv --decode",),
    "backbones list": ("backbones list --json",),
    "backbones verify": ("backbones verify local-dir:/models/biomedclip",),
    "backbones pretrain": (
        "backbones pretrain my-clip --minutes 5",
        "backbones pretrain my-vit --tower vit --minutes 3",
    ),
    "backbones moments": (
        "backbones moments --manifest public.csv --backbone local-dir:/models/biomedclip",
    ),
    "backbones build": ("backbones build lite0-minilm",),
    "site init": (
        "site init /srv/site --name north --manifest /data/manifest.csv "
        "--superlink fed.example.org:9092",
    ),
    "site check": ("site check /srv/site",),
    "site trust": ("site trust /srv/site south.key.pub --name south",),
    "server init": ("server init /srv/federation --host fed.example.org --bind 0.0.0.0",),
    "server admit": ("server admit /srv/federation north.key.pub --name north",),
    "server sites": ("server sites /srv/federation",),
    "server run": ("server run /srv/federation --sites 3 --experiences 2",),
}


def add_examples(app: typer.Typer, words: str = "") -> None:
    """Put its examples under the help of every command of `app`, and of the groups in it."""
    for command in app.registered_commands:
        name = f"{words} {_name(command)}".strip()
        if name in EXAMPLES:
            # Typer takes a blank line for the end of a line.
            lines = "\n\n".join(f"  fedretune {each}" for each in EXAMPLES[name])
            command.epilog = f"Example{'s' * (len(EXAMPLES[name]) > 1)}:\n\n{lines}"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_examples(group.typer_instance, f"{words} {group.name}".strip())


def _name(command: CommandInfo) -> str:
    return command.name or getattr(command.callback, "__name__", "").replace("_", "-")
