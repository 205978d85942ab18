"""The canary attack of ``privacy attack``: how private a run's training is at least."""

import json
from typing import TYPE_CHECKING, Any

import typer

from fedretune.cli.app_folder import AppFolder
from fedretune.cli.console import say
from fedretune.cli.privacy_world import learn, mechanism_of
from fedretune.seeds import derive_seed

if TYPE_CHECKING:
    from fedretune.adaptors import Model
    from fedretune.privacy.attacks.canary import CanaryAudit
    from fedretune.privacy.attacks.target import Examples

#: At which epsilon is bounded: the run's own, larger delta would excuse nearly any guess.
DELTA = 1e-5


def audited(app: AppFolder, world: Any, canaries: int, seed: int) -> "tuple[CanaryAudit, float]":
    """Return what canaries refute of an experience's training, and the accounted epsilon.

    Infinite where a run promises none.
    """
    from fedretune.privacy.accounting import Spending, epsilon_of
    from fedretune.privacy.attacks.canary import audit, planted

    config, mechanism = world.config, mechanism_of(app, world)
    epsilon = float("inf")
    if mechanism is not None:
        steps = mechanism.steps * config.rounds
        epsilon = epsilon_of([Spending(mechanism.noise, mechanism.rate, steps)], DELTA)

    def in_round(model: "Model", examples: "Examples", round_: int) -> None:
        learn(world, mechanism, model, examples, derive_seed(seed, "canary round", round_))

    # A prior far below 1/2 leaves negatives nearly without a gradient.
    given = planted(
        canaries, world.adaptor.dim, len(world.prompts.findings), config.privacy.prior < 0.5, seed
    )
    how = (world.prompts, config.pooling, given, config.rounds, DELTA, seed)
    return audit(world.adaptor, in_round, *how), epsilon


def show(app: AppFolder, world: Any, canaries: int, seed: int, as_json: bool) -> None:
    """Print what canaries refute."""
    found, epsilon = audited(app, world, canaries, seed)
    told = {name: getattr(found, name) for name in ("canaries", "guesses", "right", "bound")}
    if as_json:
        accounted = None if epsilon == float("inf") else epsilon
        typer.echo(json.dumps({"attack": "canary", **told, "delta": DELTA, "epsilon": accounted}))
        return
    say(
        f"{found.right} of {found.guesses} guesses about {found.canaries} canaries are right: with "
        f"a certainty of 95 % an experience's rounds spend an epsilon above "
        f"[bold]{found.bound:.3f}[/] at delta {DELTA:g}. By the account it is {epsilon:.3f}."
    )
