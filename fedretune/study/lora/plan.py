"""What `study lora` runs: its cells, each a model tuned in one way on a share of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedretune.errors import UserError
from fedretune.study.lora.recipes import Recipe, recipe_of

#: The kind of `fedretune.adaptors.TunedSpec` that each tuning is.
KINDS = {"lora": "lora", "full": "full", "linear-probe": "head", "bitfit": "bitfit"}

#: Of a cell's config: where it is made, and of what files; other places make no other cell, as the
#: files' contents are in the config too.
PLACE = ("out", "name", "resume", "device", "backbone", "manifest")


@dataclass(frozen=True)
class LoraCell:
    """One run: a model, tuned in one way on a share of a data set's labels."""

    model: str
    data: str
    ratio: int
    tuning: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.model}.{self.data}.{self.ratio}.{self.tuning}.seed-{self.seed}"

    @property
    def label(self) -> str:
        """What is told of it while it runs."""
        where = f"{self.model} {self.data} {self.ratio}%"
        return f"{where:<22}  {self.tuning:<12}  seed {self.seed}"


@dataclass(frozen=True)
class Wanted:
    """What is asked for; each a tuple of names, see `fedretune.study.lora.recipes`.

    Parameters
    ----------
    models, data_sets, tunings : tuple[str, ...]
    ratios, seeds : tuple[int, ...]
    fft_lr : mapping of a model to a rate
    """

    models: tuple[str, ...]
    data_sets: tuple[str, ...]
    ratios: tuple[int, ...]
    tunings: tuple[str, ...]
    seeds: tuple[int, ...]
    fft_lr: Mapping[str, float]

    def recipes(self) -> dict[LoraCell, Recipe]:
        """Return every cell with its recipe: the first seed of everything, then the second, ...

        Raises
        ------
        UserError
            A name or ratio that the study has not; recipes that are not known, all at once.
        """
        found, errors = {}, list[str]()
        for cell in self._cells():
            task = (cell.model, cell.data, cell.ratio, cell.tuning)
            try:
                found[cell] = recipe_of(*task, self.fft_lr)
            except UserError as error:
                errors.append(str(error))
        if errors:
            more = f" ({len(errors)} such in all)" if errors[1:] else ""
            raise UserError(f"{errors[0]}{more}")
        return found

    def _cells(self) -> Sequence[LoraCell]:
        return [
            LoraCell(model, data, ratio, tuning, seed)
            for seed in self.seeds
            for model in self.models
            for data in self.data_sets
            for ratio in self.ratios
            for tuning in self.tunings
        ]


def config_of(
    cell: LoraCell,
    recipe: Recipe,
    backbone: str,
    manifest: Path,
    **more: Any,
) -> dict[str, Any]:
    """Return a cell's config: flat keys, plain values.

    Parameters
    ----------
    cell : LoraCell
    recipe : Recipe
    backbone : str
        The name of the frozen model.
    manifest : Path
    more
        ``blocks``, ``device``, ``out``, and what the files are: ``fingerprint``, ``content``.
    """
    return {
        **asdict(cell),
        "name": cell.name,
        "kind": KINDS[cell.tuning],
        "backbone": backbone,
        "manifest": str(manifest),
        **{f"recipe.{key}": value for key, value in asdict(recipe).items()},
        **more,
    }


def differences(kept: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Say in what a config is another one than the one that is kept; nothing where it is not."""
    keys = [key for key in {**kept, **config} if key not in PLACE]
    return "; ".join(
        f"{key} was {kept.get(key)} and is {config.get(key)}"
        for key in keys
        if kept.get(key) != config.get(key)
    )
