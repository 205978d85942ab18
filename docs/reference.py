"""A hook of MkDocs that makes the reference's pages from the code: nothing is told twice."""

import inspect
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from clients.attacks import ATTACKS  # noqa: E402
from fedretune.compression import COMPRESSIONS  # noqa: E402
from fedretune.data.readers import READERS, TITLES  # noqa: E402
from fedretune.methods import METHODS  # noqa: E402
from fedretune.registry import Registry  # noqa: E402
from fedretune.strategies import STRATEGIES, Traits  # noqa: E402
from scenarios.keys import keys  # noqa: E402
from scenarios.schedules import SCHEDULES  # noqa: E402
from scenarios.stream import SCENARIOS  # noqa: E402
from server.strategies import STRATEGIES as FOLDS  # noqa: E402

#: A page's place below ``reference/``, and its Markdown.
Page = tuple[str, str]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the made pages into the navigation."""
    reference = next(part["Reference"] for part in config.nav or [] if "Reference" in part)
    for title, folder, names in GROUPS:
        pages = [f"reference/{folder}/{_file(name)}.md" for name in names]
        reference.append({title: [f"reference/{folder}/index.md", *pages]})
    for title, place in (
        ("Keys", "keys"),
        ("Commands", "commands"),
        ("Compressions", "compressions"),
    ):
        reference.append({title: f"reference/{place}.md"})
    for title, place in (("Schedules", "schedules"), ("Readers", "readers")):
        reference.append({title: f"reference/{place}.md"})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages."""
    for place, text in pages():
        files.append(File.generated(config, f"reference/{place}.md", content=text))
    return files


def pages() -> Iterator[Page]:
    """Yield every page that is made from the code."""
    yield "keys", _keys()
    yield "commands", _commands()
    yield "compressions", _one_page("Compressions", "compression", COMPRESSIONS)
    yield "schedules", _one_page("Schedules", "schedule", SCHEDULES)
    yield "readers", _readers()
    for title, folder, names in GROUPS:
        yield f"{folder}/index", _index(title, folder, names)
    for name in METHODS:
        yield f"methods/{_file(name)}", _page(name, f"method = {name}", METHODS.address(name))
    for name in SCENARIOS:
        yield f"scenarios/{_file(name)}", _page(name, f"scenario = {name}", SCENARIOS.address(name))
    for name, traits in STRATEGIES.items():
        yield f"strategies/{_file(name)}", _strategy(name, traits)
    for name in ATTACKS:
        yield f"attacks/{_file(name)}", _attack(name)


GROUPS: list[tuple[str, str, Mapping[str, Any]]] = [
    ("Methods", "methods", METHODS),
    ("Scenarios", "scenarios", SCENARIOS),
    ("Strategies", "strategies", STRATEGIES),
    ("Attacks", "attacks", ATTACKS),
]


def _file(name: str) -> str:
    return "index-" if name == "index" else name


def _page(name: str, setting: str, address: str) -> str:
    module = address.rpartition(".")[0]
    return f"# {name}\n\n`--set {setting.replace(' ', '')}`\n\n::: {module}\n"


def _strategy(name: str, traits: Traits) -> str:
    text = _page(name, f"strategy = {name}", FOLDS.address(name))
    taken = [f"aggregation.{each.replace('_', '-')}" for each in traits.parameters]
    if taken:
        text += "\n## Its keys\n\n" + _key_table(taken, traits.settings)
    if not traits.part.endswith(":SitePart"):
        text += f"\n## The site's part\n\n::: {traits.part.partition(':')[0]}\n"
    return text


def _attack(name: str) -> str:
    attack = ATTACKS[name]
    answers = attack.at_site or attack.answer
    code = inspect.unwrap(getattr(answers, "func", answers))
    told = inspect.getdoc(code) or ""
    lines = [f"# {name}", f"`fedretune simulate --attack {name} --attackers 1`", told]
    lines.append(
        f"Kind: {attack.kind}." + (f" Strength: {attack.strength:g}." * bool(attack.strength))
    )
    if attack.status:
        lines.append(f'The reply is listed as `{attack.status}` in `sites.csv`: "{attack.reason}".')
    return "\n\n".join(lines) + "\n"


def _index(title: str, folder: str, names: Mapping[str, Any]) -> str:
    listed = "\n".join(f"- [`{name}`]({_file(name)}.md)" for name in names)
    return f"# {title}\n\n{listed}\n"


def _one_page(title: str, key: str, registry: Registry) -> str:
    parts = [f"# {title}\n"]
    for name in registry:
        parts.append(f"## {name}\n\n`--set {key}={name}`\n\n::: {registry.address(name)}\n")
    return "\n".join(parts)


def _readers() -> str:
    parts = ["# Readers\n", "`fedretune manifest NAME --help` says which files each wants.\n"]
    for name in READERS:
        module = READERS.address(name).rpartition(".")[0]
        parts.append(
            f"## {name}\n\n{TITLES[name]}.\n\n::: {module}\n    options:\n      members: []\n"
        )
    return "\n".join(parts)


def _keys() -> str:
    return (
        "# Keys of a run\n\nEach can be set with `--set KEY=VALUE`, under `fedretune run`, "
        "`simulate` and `server run`, and in the `--run-config` of a bare `flwr run`. "
        "`fedretune keys WORDS` finds them on the command line.\n\n"
        + _key_table([each.name for each in keys()])
    )


def _key_table(names: list[str], settings: Mapping[str, float] | None = None) -> str:
    """Return a table of keys with their defaults, or, where there is one, the setting instead."""
    given = settings or {}
    rows = [
        f"| `{name}` | `{_toml(given.get(name, default))}` | {meaning} |"
        for name, default, meaning in keys()
        if name in names
    ]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _commands() -> str:
    """Return what Typer itself writes of the command line."""
    command = [sys.executable, "-m", "typer", "fedretune.cli.main", "utils", "docs"]
    options = ["--name", "fedretune", "--title", "Commands"]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout
