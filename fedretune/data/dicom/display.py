"""From stored values to shades of grey, as DICOM PS3.3, C.11 and PS3.14 have it.

All steps map one value to one value, so they are worked out once for each value that can be
stored, at most 65,536, and looked up for the pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from fedretune.data.dicom.header import integer, quietly, value
from fedretune.data.dicom.layout import Layout
from fedretune.data.refusal import RefusedError

#: Of an image without a window: below the first share of its pixels is black, above the second
#: white. Collimated borders and bright markers then leave the lungs their contrast, while one
#: dead pixel changes nothing.
SHARES = (0.005, 0.995)

Stored = NDArray[np.integer[Any]]
Values = NDArray[np.float64]


def show(stored: Stored, dataset: Dataset, layout: Layout) -> NDArray[np.uint8]:
    """Return the shades ``[rows, columns]`` of stored values: 0 black, 255 white.

    Padding is black. Raises `RefusedError` for a transformation that cannot be applied.
    """
    codes = np.arange(layout.lowest, layout.lowest + 2**layout.stored)
    padding = _padding(codes, dataset)
    values = _modality(codes, dataset)
    shades = _of_interest(values, dataset)
    if shades is None and layout.stored <= 8:  # was made for display
        shades = _between(values, values.min(), values.max())
    if shades is None:
        places = stored.astype(np.int64) - layout.lowest if layout.signed else stored
        counts = np.bincount(places.ravel(), minlength=len(codes))
        shades = stretch(values, np.where(padding, 0, counts))
    if layout.photometric == "MONOCHROME1":
        shades = 1 - shades
    table = np.where(padding, 0, np.round(shades * 255)).astype(np.uint8)
    # Negative values index from the end, so that is where their shades go.
    return np.roll(table, layout.lowest)[stored]


def window(values: Values, centre: float, width: float, function: str) -> Values:
    """Return the shades, 0 to 1, of values through a window.

    Formulas of PS3.3, C.11.2.1.2.1 (``LINEAR``, at least 1 wide), C.11.2.1.3.1 (``SIGMOID``) and
    C.11.2.1.3.2 (``LINEAR_EXACT``), both wider than 0.
    """
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    return _between(values, centre - width / 2, centre + width / 2)


def stretch(values: Values, counts: NDArray[np.int64]) -> Values:
    """Return the shades, 0 to 1, of values between the quantiles `SHARES` of the pixels.

    Parameters
    ----------
    values : float64 array [k]
    counts : int64 array [k]
        How many pixels have each value.
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    if reached[-1] == 0:
        raise RefusedError("all its pixels are padding")
    places = np.searchsorted(reached, np.array(SHARES) * reached[-1])
    low, high = values[order][places]
    return _between(values, low, high)


def _between(values: Values, low: float, high: float) -> Values:
    """Return 0 up to `low`, 1 above `high`, and a straight line between."""
    if not high > low:
        return (values > low).astype(np.float64)
    return np.clip((values - low) / (high - low), 0, 1)


def _padding(codes: NDArray[np.int64], dataset: Dataset) -> NDArray[np.bool_]:
    """Return which stored values are padding (PS3.3, C.7.5.1.1.2)."""
    one = integer(dataset, "PixelPaddingValue")
    if one is None:
        return np.zeros(len(codes), dtype=np.bool_)
    other = integer(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((one, one if other is None else other))
    return (codes >= low) & (codes <= high)


def _modality(codes: NDArray[np.int64], dataset: Dataset) -> Values:
    """Return what stored values measure: through the rescale slope and intercept, or a table."""
    values = quietly(lambda: np.asarray(apply_modality_lut(codes, dataset), dtype=np.float64))
    if values is None or not np.isfinite(values).all():
        raise RefusedError("its modality transformation (rescale or table) is broken")
    return values


def _of_interest(values: Values, dataset: Dataset) -> Values | None:
    """Return the shades, 0 to 1, through the first table or else window; None without either."""
    if tables := value(dataset, "VOILUTSequence"):
        steps = quietly(lambda: apply_voi(np.rint(values).astype(np.int64), dataset))
        depth = quietly(lambda: int(tables[0].LUTDescriptor[2]))
        if steps is None or depth is None:
            raise RefusedError("its table of the values of interest (VOI LUT) is broken")
        return np.asarray(np.clip(steps / (2**depth - 1), 0, 1))
    centre, width = (_first(dataset, tag) for tag in ("WindowCenter", "WindowWidth"))
    function = str(value(dataset, "VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise RefusedError("its window has an unknown VOI LUT function")
    if centre is None or width is None or not np.isfinite([centre, width]).all():
        return None
    if width <= 0 or (width < 1 and function == "LINEAR"):  # is how some write "none"
        return None
    return window(values, centre, width, function)


def _first(dataset: Dataset, tag: str) -> float | None:
    """Return the first of a tag's numbers; None where there is none."""
    return quietly(lambda: float(np.atleast_1d(value(dataset, tag))[0]))
