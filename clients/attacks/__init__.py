"""An attack zoo: what a site that is not honest may answer to a training message.

An attacker holds its whole process, so what it answers has passed no guard of the site's. It
answers evaluations honestly, so that figures with and without an attack can be compared. In
simulation alone: no app that a site runs imports this, and the Flower bundle is without it. A new
attack is a function and a line in `ATTACKS`; the tests of tests/attacks and ``fedretune study
attacks`` take it up.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from clients.attacks import malformed, plausible
from clients.attacks.answer import Attack, honestly
from fedretune.errors import UserError, one_of
from fedretune.seeds import derive_seed

_plausible = partial(Attack, kind="plausible")
_malformed = partial(Attack, kind="malformed", status="quarantined")

ATTACKS: Mapping[str, Attack] = {
    "sign-flip": _plausible(plausible.sign_flip, strength=1.0),
    "sign-flip-3": _plausible(plausible.sign_flip, strength=3.0),
    "scale-10": _plausible(plausible.scaled, strength=10.0),
    "scale-100": _plausible(plausible.scaled, strength=100.0),
    "gaussian": _plausible(plausible.gaussian, strength=10.0),
    "alie": _plausible(plausible.alie, strength=1.5),
    "boast": _plausible(plausible.boast, strength=1.0, announced=plausible.BOAST),
    "label-flip": _plausible(honestly, at_site=plausible.with_flipped_labels),
    "nan": _malformed(malformed.filled_with(np.nan), reason="not finite"),
    "infinity": _malformed(malformed.filled_with(np.inf), reason="not finite"),
    "nan-loss": _malformed(malformed.claiming("loss", np.nan), reason="not finite"),
    "huge-weight": _malformed(
        malformed.claiming("num-examples", 10**12), reason="num-examples is 1000000000000"
    ),
    "zero-weight": _malformed(malformed.claiming("num-examples", 0), reason="num-examples is 0"),
    "negative-weight": _malformed(
        malformed.claiming("num-examples", -5), reason="num-examples is -5"
    ),
    "wrong-shape": _malformed(
        malformed.with_first(lambda name, each: {name: each.reshape(1, *each.shape)}),
        reason="has shape",
    ),
    "wrong-dtype": _malformed(
        malformed.with_first(lambda name, each: {name: each.astype(np.float64)}), reason="dtype"
    ),
    "wrong-key": _malformed(
        malformed.with_first(lambda name, each: {f"{name}-": each}), reason="unexpected array"
    ),
    "missing-key": _malformed(malformed.with_first(lambda name, each: {}), reason="missing array"),
    "extra-key": _malformed(malformed.extra_key, reason="unexpected array"),
    "stale": _malformed(malformed.stale, reason="round is"),
    "duplicate": Attack(
        malformed.duplicate, "malformed", "repeated", "after the first reply", counts_once=True
    ),
    "empty": _malformed(malformed.empty, reason="missing record"),
    "slow": Attack(malformed.slow, "malformed", "silent", "no reply within"),
    "crash": Attack(malformed.crash, "malformed", "failed", "Flower error"),
}


def attack_of(name: str, strength: float = 0.0) -> Attack:
    """Return the attack of that name, with its own strength or another.

    Raises
    ------
    UserError
        There is no such attack; the message names those that there are. Or it has no strength.
    """
    attack = ATTACKS[one_of("attack", name, ATTACKS)]
    if not strength:
        return attack
    if not attack.strength:
        raise UserError(f"attack-strength is {strength}, and attack '{name}' has no strength.")
    return replace(attack, strength=strength)


def attackers_among(sites: int, attackers: int, seed: int) -> frozenset[int]:
    """Return the positions of the sites that attack, among `sites` of them.

    Of `seed` alone, and each number of attackers has those of a smaller number among it.
    """
    order = np.random.default_rng(derive_seed(seed, "attackers")).permutation(sites)
    return frozenset(int(position) for position in order[:attackers])
