"""The handshake: what a site says of itself, and what all sites of a run must agree on."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import fedretune
from fedretune import wire
from fedretune.adaptors import Spec
from scenarios import RunConfig

#: Longest name of a site, in characters, and the names that mean something else in a run folder.
MAX_NAME = 100
RESERVED = ("pooled",)
#: More images than a site can have; sums of them are exact.
MAX_EXAMPLES = 2**40


@dataclass(frozen=True)
class Member:
    """A site that takes part: its node and what it said in the handshake.

    `first` is the fingerprint of the adaptor that it would begin with, where it told that.
    """

    node: int
    train_examples: tuple[int, ...]
    test_examples: tuple[int, ...]
    first: str = ""


@dataclass(frozen=True)
class Terms:
    """What all the sites of a run must agree on."""

    version: str
    backbone: str
    prompts: str
    adaptor: str
    dim: int
    findings: tuple[str, ...]
    steps: int
    experiences: int
    trunk: tuple[str, ...] = ()
    moments: str = ""

    def spec(self, config: RunConfig) -> Spec:
        """Return what a run of this config trains, and what travels."""
        return config.spec(self.dim, len(self.findings), self.trunk)

    def differences(self, other: "Terms") -> str:
        """Name the terms in which `other` differs, with its values."""
        mine, theirs = vars(self), vars(other)
        return ", ".join(
            f"{name} is {str(theirs[name])[:20]}, not {str(mine[name])[:20]}"
            for name in mine
            if mine[name] != theirs[name]
        )


def objection(answer: Mapping[str, wire.Value]) -> str:
    """Say why a site that answers so cannot take part in any run; empty if it can."""
    name = str(answer["name"])
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= MAX_NAME:
        return f"a site's name is 1 to {MAX_NAME} printable characters"
    if name in RESERVED or name.startswith("@"):
        return "its name means something else in a run folder"
    counts = (*_ints(answer, "train"), *_ints(answer, "test"))
    if any(not 0 <= count <= MAX_EXAMPLES for count in counts):
        return "it announces numbers of images that cannot be"
    return ""


def terms_of(answer: Mapping[str, wire.Value]) -> Terms:
    """Return the terms of a site that answered the handshake so."""
    texts = {name: str(answer[name]) for name in ("version", "backbone", "prompts", "adaptor")}
    findings = answer["findings"]
    assert isinstance(findings, list)
    return Terms(
        **texts,
        dim=int(str(answer["dim"])),
        findings=tuple(str(finding) for finding in findings),
        steps=len(_ints(answer, "train")),
        experiences=len(_ints(answer, "test")),
        trunk=_trunk(answer),
        moments=str(answer.get("moments", "")),
    )


def member_of(node: int, answer: Mapping[str, wire.Value]) -> Member:
    """Return the member that a node which answered the handshake so becomes."""
    first = str(answer.get("first", ""))
    return Member(node, _ints(answer, "train"), _ints(answer, "test"), first)


def majority(terms: list[Terms]) -> Terms:
    """Return the terms of the most sites; those of the server's own version win a tie."""
    counts = Counter(terms)
    return max(
        counts, key=lambda each: (counts[each], each.version == fedretune.__version__, str(each))
    )


def _trunk(answer: Mapping[str, wire.Value]) -> tuple[str, ...]:
    """Return the layout of the backbone, where the site tells it."""
    lines = answer.get("layout", [])
    assert isinstance(lines, list)
    return tuple(map(str, lines))


def _ints(answer: Mapping[str, wire.Value], split: str) -> tuple[int, ...]:
    counts = answer[f"{split}-examples"]
    assert isinstance(counts, list)
    return tuple(int(count) for count in counts)
