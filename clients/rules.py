"""A real site's policy, held against what it is asked and what it answers.

In the site's process and from the site's files: no message reaches either.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from flwr.app import ConfigRecord, Message

import fedretune.sites.policy as policies
from clients.world import World
from fedretune import wire
from fedretune.adaptors import ProbeSpec, TunedSpec
from fedretune.errors import UserError
from fedretune.privacy.accounting import Release
from fedretune.privacy.ledger import PrivacyLedger
from fedretune.sites import Ledger, Policy, Proposal

#: The folder that Flower unpacks a bundle into ends with the first digits of its SHA-256.
_BUNDLE = re.compile(r"\.([0-9a-f]{8})$")


@dataclass(frozen=True)
class Asked:
    """What a message is about; -1 where it is about no experience or round."""

    kind: str
    run: str
    experience: int
    round: int


def asked_of(message: Message) -> Asked:
    """Return what a message is about."""
    told = message.content.config_records.get("position", ConfigRecord())
    where = (int(str(told.get(name, -1))) for name in ("experience", "round"))
    return Asked(message.metadata.message_type, str(told.get("run", ""))[: wire.MAX_TEXT], *where)


@dataclass(frozen=True)
class Rules:
    """A site's `policy`, its `ledger` of what has left, its account of `privacy`; how to sign.

    `key` reads the site's own key, which is in memory no longer than it signs, and `peers` those of
    other sites.
    """

    policy: Policy
    ledger: Ledger
    privacy: PrivacyLedger
    key: Callable[[], EllipticCurvePrivateKey]
    peers: Callable[[], Mapping[str, EllipticCurvePublicKey]]

    def check(self, name: str, world: World, asked: Asked) -> None:
        """Raise `UserError`, with a reason that may be told, if the site `name` declines."""
        try:
            self.policy.check_run(_proposal(world))
            if asked.kind == "train":
                _check_position(world, asked)
                self.policy.check_shard(len(world.scenario.lesson(name, asked.experience).rows))
                self.policy.check_left(asked.run, self.ledger.trained())
            elif asked.kind.startswith("evaluate"):
                rows = world.scenario.rows(name, world.config.evaluation_split)
                self.policy.check_shard(len(rows))
        except UserError as error:
            raise UserError(f"{name}: {error}", public=f"{name} declines: {error.public}") from None

    def check_budget(self, release: Release) -> None:
        """Raise `UserError` if one more round would spend more than the site's epsilon."""
        if self.policy.epsilon:
            self.policy.check_epsilon(self.privacy.epsilon(self.policy.delta, release))

    def hidden(
        self, arrays: wire.ArrayRecords, scalars: wire.ScalarRecords
    ) -> tuple[wire.ArrayRecords, wire.ScalarRecords]:
        """Return a reply whose counts hide the few, and that tells what was done to a histogram.

        First noise, where the policy has it; then small cells become 0.
        """
        suppressed, scale, told = 0, self.policy.cell_noise, dict(arrays)
        for record in {"histogram", "counts"} & set(arrays):
            cells = dict(arrays[record])
            for key, counts in cells.items():
                if scale:
                    counts = policies.with_noise(counts, scale)
                cells[key], gone = policies.without_small_cells(counts, self.policy.smallest_cell)
                suppressed += gone * (record == "histogram")
            told[record] = cells
        added: dict[str, dict[str, wire.Value]] = {}
        if suppressed:
            added["suppressed"] = {"cells": suppressed}
        if scale and "histogram" in arrays:
            added["noised"] = {"scale": scale}
        return told, {**scalars, **added}

    def note(self, asked: Asked, arrays: wire.ArrayRecords, refusal: str) -> None:
        """Write into the ledger what leaves, or why nothing does."""
        size = sum(array.nbytes for values in arrays.values() for array in values.values())
        self.ledger.note(asked.run, asked.kind, asked.experience, asked.round, size, refusal)


def _proposal(world: World) -> Proposal:
    config, adaptor = world.config, world.adaptor
    added = config.site_part().adds(adaptor)
    records: Mapping[str, object] = {**added.arrays, **added.scalars}
    steps = world.scenario.steps if config.how.trains else 0
    return Proposal(
        methods=config.method.split("+"),
        adaptor="probe" if isinstance(adaptor, ProbeSpec) else adaptor.kind,
        records=list(records),
        rounds=steps * config.rounds,
        private=config.privacy.at_sites,
        secure=config.secure_aggregation,
        bundle=_bundle(),
        backbone=isinstance(adaptor, TunedSpec) and adaptor.kind == "full",
    )


def _bundle() -> str:
    """Return the first digits of the SHA-256 of the bundle that this code came in, if in any."""
    found = _BUNDLE.search(Path(__file__).resolve().parents[1].name)
    return found[1] if found else ""


def _check_position(world: World, asked: Asked) -> None:
    steps, rounds = world.scenario.steps, world.config.rounds
    if not (0 <= asked.experience < steps and 0 <= asked.round < rounds):
        raise policies.refused(f"the run's own rounds, {rounds} in each of {steps} experiences")
