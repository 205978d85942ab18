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
    experiences : int
        Of the run in `simulate`.
    """

    repeats: int
    rendered: int
    embedded: int
    patients: int
    experiences: int


#: The default run's own size: 5,100 patients and 5 experiences.
FULL = Scale(repeats=7, rendered=400, embedded=400, patients=5100, experiences=5)
#: The same shards, fewer of them: under two minutes on two free cores.
QUICK = Scale(repeats=5, rendered=60, embedded=120, patients=1020, experiences=1)


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
