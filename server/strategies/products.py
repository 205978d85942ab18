"""LoRA averaged right: the mean of the products B A, not the product of the means.

``mean(B_i A_i)`` is what the mean of the sites' merged weights is; ``mean(B_i) mean(A_i)``, which
averaging factors apart gives, is something else as soon as the A's differ. The mean of products has
a rank of up to that of all sites together, so it is cut by its singular value decomposition to the
rank that there is: the nearest matrix of that rank (Eckart & Young 1936). What is cut off is the
residual. FedEx-LoRA, Singhal et al. 2024 (arXiv 2410.09432), adds it to the frozen weights; here as
much of it as `TunedSpec.kept` has room for stays in factors that are used and not trained, and the
share that is lost after all is reported.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedretune.adaptors import TunedSpec
from fedretune.wire import Array
from server.aggregation import Arrays
from server.strategies.fold import Fold, Setup, State, Update

Matrix = NDArray[np.float64]
#: Among what a strategy remembers: the residual of the last round.
RESIDUAL = "residual"
#: Of the largest singular value: below it is rounding.
ROUNDING = 1e-7
#: Above it, factors are not turned: what is small in A would be large in B.
CONDITION = 100.0


class ProductFold:
    """The mean of LoRA's products, and of all other tensors what another fold makes of them.

    Memory is that of the frozen matrices that are adapted, in float64, however many sites there
    are. A site of a smaller rank has sent zeros beyond it, which change no product.

    Parameters
    ----------
    setup : Setup
        Its spec is a `TunedSpec` of kind `lora` whose A is trained.
    current : mapping of name to array
    others : Fold
        Gets every reply too.
    sort : bool (default: False)
        Whether the largest singular values must come first, for sites of smaller ranks take the
        first rows and columns alone; else A stays as near to the sites' mean as it can.
    """

    def __init__(self, setup: Setup, current: Arrays, others: Fold, *, sort: bool = False) -> None:
        assert isinstance(setup.spec, TunedSpec)
        self._spec, self._current, self._others = setup.spec, current, others
        self._sort = sort or bool(setup.spec.kept)
        self._sums: dict[tuple[str, int], Matrix] = {}
        self._squares: dict[str, float] = {}
        self._examples, self._sites = 0.0, 0
        self._changed: set[tuple[str, int]] = set()

    def add(self, update: Update) -> None:
        """Add a site's products, weighted by its examples."""
        self._others.add(update)
        self._examples += update.examples
        self._sites += 1
        for name in pairs(self._spec):
            a, b = (update.arrays[f"{name}.{factor}"].astype(np.float64) for factor in "AB")
            squares = update.examples * float(np.square(a).sum())
            self._squares[name] = self._squares.get(name, 0.0) + squares
            for start, stop in groups(self._spec):
                key, part = (name, start), slice(start, stop)
                product = update.examples * (b[:, part] @ a[part])
                self._sums[key] = self._sums[key] + product if key in self._sums else product
                if not self._same(name, part, update.arrays):
                    self._changed.add(key)

    def result(self) -> tuple[dict[str, Array], State]:
        """Return the next adaptor, and the residual's share. Raises `ValueError` for no reply."""
        found, state = self._others.result()
        lost = total = 0.0
        for name, start in sorted(self._changed) if self._sites > 1 else ():
            width = dict(groups(self._spec))[start] - start
            part = slice(start, start + width)
            rows = found[f"{name}.A"][part].astype(np.float64)
            norm = (self._squares[name] / self._examples / len(found[f"{name}.A"])) ** 0.5
            product = self._sums[name, start] / self._examples
            a, b, values = refactored(product, rows, norm)
            if not self._sort:
                a, b = aligned(a, b, rows)
            self._put(found, name, part, a, b)
            lost, total = lost + float(values[width:].sum()), total + float(values.sum())
        share = np.array([lost / total if total else 0.0])
        return found, {**state, RESIDUAL: {"share": share}}

    def _same(self, name: str, part: slice, arrays: Arrays) -> bool:
        """Return whether a site left these rows and columns as they came: another stage's."""
        a, b = f"{name}.A", f"{name}.B"
        return np.array_equal(arrays[a][part], self._current[a][part]) and np.array_equal(
            arrays[b][:, part], self._current[b][:, part]
        )

    def _put(self, found: dict[str, Array], name: str, part: slice, a: Matrix, b: Matrix) -> None:
        """Put the factors of a part, largest first, into what was found: the kept ones before."""
        kept = self._spec.kept
        turned = np.roll(np.arange(len(a)), kept)  # trained are the largest, and stand behind
        wide, tall = found[f"{name}.A"].copy(), found[f"{name}.B"].copy()
        wide[part], tall[:, part] = a[turned], b[:, turned]
        found[f"{name}.A"], found[f"{name}.B"] = wide, tall


def pairs(spec: TunedSpec) -> Iterator[str]:
    """Yield the names of the pairs of factors, ``blocks.11.q``, say."""
    for position in spec.positions:
        for target in spec.targets:
            yield f"blocks.{position}.{target}"


def groups(spec: TunedSpec) -> list[tuple[int, int]]:
    """Return the rows of A, first and past the last, whose products are averaged together.

    Those of each stage by themselves, for an earlier one must stay what it is.
    """
    if spec.kept:
        return [(0, spec.stacked)]
    return [(start, start + spec.rank) for start in range(0, spec.stacked, spec.rank)]


def refactored(product: Matrix, rows: Matrix, norm: float) -> tuple[Matrix, Matrix, Matrix]:
    """Return A and B of the nearest matrix of so many rows' rank, and all squared singular values.

    A's rows are orthogonal, each of length `norm`, as a start of LoRA's is about: where a singular
    value is 0, B has a column of zeros, and A a row out of the space of `rows`, so that what has
    not been learnt yet can be.

    Parameters
    ----------
    product : array [outputs, inputs]
    rows : array [r, inputs]
        The mean of the sites' A.
    norm : float
    """
    rank, norm = len(rows), norm or 1.0
    u, values, vt = np.linalg.svd(product, full_matrices=False)
    known = int((values[:rank] > ROUNDING * max(values[0], np.finfo(float).tiny)).sum())
    turn = np.sign(vt[np.arange(known), np.abs(vt[:known]).argmax(axis=1)])[:, None]
    space = turn * vt[:known]
    rest = rows - rows @ space.T @ space
    others = np.linalg.svd(rest, full_matrices=False)[2][: rank - known]
    b = np.zeros((len(product), rank))
    b[:, :known] = u[:, :known] * turn.T * values[:known] / norm
    return norm * np.concatenate([space, others]), b, np.square(values)


def aligned(a: Matrix, b: Matrix, rows: Matrix) -> tuple[Matrix, Matrix]:
    """Return factors of the same product whose A is `rows`, as far as A's row space goes.

    So sites go on from nearly the A that they have trained, and where all of theirs is the same,
    from that, and from the mean of B. Where `rows` leave out a direction of that space there is no
    such A, and the factors stay as they are.
    """
    turn = rows @ a.T / np.square(a).sum(1)  # rows = turn a, but for what lies beside the space
    if np.linalg.cond(turn) > CONDITION:
        return a, b
    return turn @ a, np.linalg.solve(turn.T, b.T).T
