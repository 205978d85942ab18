"""A labelled sheet of the findings, for a person to judge them by."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fedretune.data.phantoms.drawing import draw
from fedretune.errors import UserError
from fedretune.findings import NIH14

COLUMNS = {"normal": None, "severe": 1.0, "moderate": 0.5, "barely visible": 0.0}
_TILE, _GAP, _LABEL, _HEAD = 256, 6, 230, 40


def sheet(path: Path, seed: int = 0) -> Path:
    """Write a PNG with a row a finding: the same patient without it, and at three severities.

    Raises
    ------
    UserError
        If `path` cannot be written or its ending names no image format.
    """
    step = _TILE + _GAP
    wide, tall = _LABEL + step * len(COLUMNS), _HEAD + step * len(NIH14)
    page = Image.new("L", (wide, tall), 24)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=22)
    for column, title in enumerate(COLUMNS):
        middle = _LABEL + column * step + _TILE // 2
        pen.text((middle, _HEAD // 2), title, fill=235, font=font, anchor="mm")
    for row, finding in enumerate(NIH14):
        top = _HEAD + row * step
        pen.text((14, top + _TILE // 2), finding, fill=235, font=font, anchor="lm")
        for column, severity in enumerate(COLUMNS.values()):
            tile = _tile(seed, row, finding, severity)
            page.paste(tile, (_LABEL + column * step, top))
    return _save(page, Path(path))


def _tile(seed: int, row: int, finding: str, severity: float | None) -> Image.Image:
    present = {} if severity is None else {finding: severity}
    film = draw("run", seed, f"sheet-{row}", 0, "PA", f"site-{row % 5 + 1}", present, _TILE)
    return Image.fromarray(film)


def _save(page: Image.Image, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        page.save(path)
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot write the sheet to '{path}': {error}.") from error
    return path
