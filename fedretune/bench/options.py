"""What a bench is asked for: how much, on which backbone, with which app."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scale:
    """How much each row does.

    Parameters
    ----------
    repeats : int
        Times that each side is measured, in turn.
    rendered : int
        Images that the row `phantoms` renders.
    embedded : int
        Patients (about 2.4 images each) whose images the row `embedding` encodes.
    patients : int
        Patients of the made world of `simulate` and `second-start`.
    experiences, rounds : int
        Of the run in `simulate`, and rounds of each experience.
    reencoded : int
        Patients of the run in `reencode`; 255 of them are a site, as in the default run.
    many : int
        Sites, of 112 made vectors each, in `many-sites` and `round-cost`; replies in
        `server-memory`.
    left_out : tuple[str, ...] (default: none)
        Rows that are run only when they are named.
    """

    repeats: int
    rendered: int
    embedded: int
    patients: int
    experiences: int
    rounds: int
    reencoded: int
    many: int
    left_out: tuple[str, ...] = ()


#: The default run's own size: 5,100 patients and 5 experiences.
FULL = Scale(
    repeats=5,
    rendered=400,
    embedded=400,
    patients=5100,
    experiences=5,
    rounds=5,
    reencoded=255,
    many=1000,
)
#: The same shards, fewer of them: under two minutes on two free cores.
QUICK = Scale(
    repeats=5,
    rendered=60,
    embedded=60,
    patients=1020,
    experiences=1,
    rounds=2,
    reencoded=64,
    many=100,
    left_out=("embedding-vit", "run", "secure-round-64", "second-start", "site-message"),
)


@dataclass(frozen=True)
class Options:
    """What every row is given.

    Parameters
    ----------
    scale : Scale
    backbone : str
        A name for `fedretune.backbones.describe`.
    app : Path | None
        Where the Flower app is; None looks for it.
    folder : Path
        An empty folder of the row's own, gone after it. ``$FEDRETUNE_CACHE`` is in it, so that
        nothing of the user's is read or filled.
    """

    scale: Scale
    backbone: str
    app: Path | None
    folder: Path
