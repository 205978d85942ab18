"""What a study asks for, checked cell by cell before anything is trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fedretune.errors import UserError, one_of
from fedretune.study.plan import CONVENTIONS, Cell, make_plan

if TYPE_CHECKING:
    from fedretune.data.manifest import Manifest

#: Imports a module of the app by its name: the library does not know the app.
Modules = Callable[[str], ModuleType]
Flat = dict[str, Any]

#: Keys of the config that the cells decide.
CELL_KEYS = ("scenario", "unlabelled", "method", "seed", "name", "out", "resume")


@dataclass(frozen=True)
class Choice:
    """What a study is made of; no methods: those that each scenario takes."""

    scenarios: tuple[str, ...]
    methods: tuple[str, ...] | None
    unlabelled: tuple[str, ...]
    seeds: tuple[int, ...]

    def check(self, modules: Modules, base: Mapping[str, Any]) -> None:
        """Raise `UserError` for a name that is not known, or a key of `base` that cells decide."""
        from fedretune.methods import method_of

        for scenario in self.scenarios:
            modules("scenarios").SCENARIOS.check(scenario)
        for method in self.methods or ():
            method_of(method)
        for convention in self.unlabelled:
            one_of("convention for unlabelled findings", convention, CONVENTIONS)
        for key in CELL_KEYS:
            if key in base:
                raise UserError(f"A study sets '{key}' itself: use its options, not --set {key}.")


@dataclass(frozen=True)
class Checks:
    """Resolves cells' configs over a manifest, and finds those that cannot run.

    Parameters
    ----------
    modules : callable
    base : mapping
        The keys of the config that all cells share.
    manifest : Manifest
    """

    modules: Modules
    base: Mapping[str, Any]
    manifest: "Manifest"

    def configs(self, choice: Choice) -> dict[Cell, Flat]:
        """Return every cell of a study with its config, in the order of the plan.

        Raises
        ------
        UserError
            One message that lists all cells that cannot run, each with its reason.
        """
        withholds = {
            name: self._scenario({"scenario": name, "seed": choice.seeds[0]}).withholds
            for name in choice.scenarios
        }
        cells = make_plan(withholds, choice.unlabelled, choice.methods, choice.seeds)
        return self._checked(cells)

    def _checked(self, cells: Sequence[Cell]) -> dict[Cell, Flat]:
        scenarios = self.modules("scenarios")
        configs, errors = {}, {}
        cut: dict[tuple[str, int], Any] = {}  # neither method nor convention changes the cut
        for cell in cells:
            where = (cell.scenario, cell.seed)
            try:
                config = self._config(cell)
                if where not in cut:
                    cut[where] = self._scenario(cell.settings())
                scenarios.arrange(config, cut[where])
                configs[cell] = config.to_flat()
            except UserError as error:
                errors[cell] = str(error)
        if errors:
            raise UserError(_listed(errors, len(cells)))
        return configs

    def _config(self, cell: Cell) -> Any:
        keys = cell.settings()
        config = self.modules("scenarios").RunConfig.from_flat(
            {**self.base, **keys, "name": cell.name}
        )
        flat = config.to_flat()
        for key, value in keys.items():
            if flat[key] != value:
                raise UserError(
                    f"Recipe '{flat['recipe']}' sets {key} = {flat[key]} where the study wants "
                    f"{value}: choose another recipe, or leave {value} out."
                )
        return config

    def _scenario(self, keys: Mapping[str, Any]) -> Any:
        """Return the scenario of a config, not yet as a method sees it."""
        scenarios = self.modules("scenarios")
        config = scenarios.RunConfig.from_flat({**self.base, **keys})
        table, findings = self.manifest.table, self.manifest.findings
        return scenarios.build_scenario(config, table, findings, config.sites)


def _listed(errors: Mapping[Cell, str], cells: int) -> str:
    """Return one message of all that cannot run: each reason once, with the first cell of it."""
    first: dict[str, Cell] = {}
    for cell, reason in errors.items():
        first.setdefault(reason, cell)
    lines = [f"{cell}: {reason}" for reason, cell in first.items()]
    return "\n".join([f"{len(errors)} of {cells} runs cannot be, so none is begun.", *lines])
