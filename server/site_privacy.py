"""Differential privacy by the server, for whole sites: the noise, the draw of sites, the account.

Hidden is *what a site holds*, all of it, in all experiences: as if each update that it ever sent
might have been nothing. From whom: from all who get adaptors, the other sites among them. Not from
the server, which cuts and adds up the updates themselves; nor is what the server alone writes
(losses, figures of evaluations, who took part) under the noise. That a site is there, and in which
experiences it has images, is not hidden.

Each round is a Poisson-sampled Gaussian mechanism of rate `participation`, for sites are drawn each
by itself. A site is in every experience, so all rounds of the stream compose.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from fedretune.errors import UserError
from fedretune.privacy.accounting import Spending, epsilon_of, noise_for
from fedretune.privacy.noise import NoiseSource, Secure, Seeded
from fedretune.seeds import derive_seed
from scenarios import RunConfig
from server.folder import RunFolder
from server.handshake import Member
from server.steps import Step
from server.strategies import Arrays, Fold, State
from server.strategies.private import ALL, CLIP, Hiding, PrivateFold


class SitePrivacy:
    """What a run does to hide its sites.

    Parameters
    ----------
    config : RunConfig
    steps : int
        Experiences of the stream.
    members : mapping of site to Member
        Who takes part; it may grow.
    folder : RunFolder
        Its ``privacy.csv`` gets a line a round, the same for every site.
    """

    def __init__(
        self, config: RunConfig, steps: int, members: Mapping[str, Member], folder: RunFolder
    ) -> None:
        self._config, self._steps, self._members = config, steps, members
        self._folder = folder

    def check(self) -> None:
        """Raise `UserError` if delta would allow to publish one of the sites."""
        delta, sites = self._config.privacy.delta, len(self._members)
        if delta * sites >= 1:
            raise UserError(
                f"privacy.delta is {delta:g}, and there are {sites} sites: it must be below 1 / "
                f"{sites}, or publishing one of them whole would be private."
            )

    @property
    def secure(self) -> bool:
        """Whether the noise comes from the operating system."""
        return self._config.privacy.noise_source == "secure"

    @cached_property
    def noise(self) -> float:
        """Standard deviation in units of the clip: the config's, or what its epsilon asks for."""
        privacy, rounds = self._config.privacy, self._steps * self._config.rounds
        return privacy.noise or noise_for(
            privacy.epsilon, privacy.delta, self._config.participation, rounds
        )

    def expected(self, step: Step) -> float:
        """Return how many sites a round is expected to ask: of those with images, the share."""
        given = [each.train_examples[step.experience] for each in self._members.values()]
        return self._config.participation * sum(map(bool, given))

    def drawn(self, sites: Sequence[str], step: Step) -> list[str]:
        """Return the sites that a round asks: each with the same chance, by itself. Maybe none."""
        if self._config.participation == 1:
            return list(sites)
        chosen = self._source("drawn", step).chosen(len(sites), self._config.participation)
        return [sites[position] for position in chosen.tolist()]

    def fold(self, step: Step, sent: Arrays, state: State, make: Callable[[State], Fold]) -> Fold:
        """Return a round's aggregation around the strategy's own, and write the round down.

        Parameters
        ----------
        step : Step
        sent : mapping of name to array
        state : State
            What is remembered: the strategy's own, and the clip where that adapts.
        make : callable (State) -> Fold
        """
        privacy = self._config.privacy
        own = {name: arrays for name, arrays in state.items() if name != CLIP}
        clip = float(state[CLIP][CLIP][0]) if CLIP in state else privacy.clip
        source = self._source("noise", step)
        hiding = Hiding(clip, self.noise, self.expected(step), source, privacy.clip_quantile)
        self._note(step, clip, source.name)
        return PrivateFold(sent, hiding, make(own))

    def _note(self, step: Step, clip: float, source: str) -> None:
        """List what all rounds so far, this one included, have spent for each site."""
        privacy, rate = self._config.privacy, self._config.participation
        rounds = step.experience * self._config.rounds + step.round + 1
        epsilon = epsilon_of([Spending(self.noise, rate, rounds)], privacy.delta)
        how = (privacy.delta, rate, 1, f"{clip:.6g}", privacy.hidden, source)
        where = (ALL, step.experience, step.round)
        self._folder.rows("privacy.csv", [(*where, f"{epsilon:.4f}", *how)])

    def _source(self, purpose: str, step: Step) -> NoiseSource:
        if self.secure:
            return Secure()
        where = (step.experience, step.round)
        return Seeded(derive_seed(self._config.seed, "site-privacy", purpose, *where))
