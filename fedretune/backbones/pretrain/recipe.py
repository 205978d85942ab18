"""How phantom-clip is made, as numbers: minutes become counts, so that load changes nothing."""

from dataclasses import dataclass

from fedretune.data.phantoms.files import DEFAULT_PATIENTS
from fedretune.errors import UserError

#: Steps of 96 pairs that two otherwise idle cores do in a minute (0.72 s of CPU time each).
STEPS_PER_MINUTE = 120
#: Minutes of the allowance that rendering the images takes on two cores.
_RENDERING = 1.5
_PATIENTS = 10_500
_PATIENTS_PER_MINUTE = 2_000


@dataclass(frozen=True)
class Recipe:
    """What `pretrain` does.

    Parameters
    ----------
    patients, sites : int
        Of pretraining; about 2.4 images a patient.
    steps, batch : int
        Of the training on images and reports.
    ceiling_steps : int
        Of the same image tower's training on the labels.
    judged_patients : int
        Of the default data: trains the probe, and its validation and test images give every AUROC.
    """

    patients: int
    sites: int
    steps: int
    batch: int
    ceiling_steps: int
    judged_patients: int


def recipe_for(minutes: float) -> Recipe:
    """Return the recipe that takes about `minutes` on two idle cores.

    The ceiling, which is no part of the model, takes as many steps again, on top of those minutes.

    Raises
    ------
    UserError
        Below two minutes, which teach nothing.
    """
    if not 2.0 <= minutes <= 600.0:
        raise UserError(f"--minutes is {minutes}; give a number from 2 to 600.")
    steps = round((minutes - _RENDERING) * STEPS_PER_MINUTE)
    patients = min(_PATIENTS, round(minutes * _PATIENTS_PER_MINUTE))
    return Recipe(patients, 64, steps, 96, steps, DEFAULT_PATIENTS)
