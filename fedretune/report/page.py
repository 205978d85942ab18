"""A report as one HTML file: nothing in it asks a network, and nothing from a run is markup."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from fedretune.report.blocks import SHOWN, Figure, Report
from fedretune.report.plots import draw, standalone


def render(report: Report) -> str:
    """Return the page.

    Its content security policy lets only its own style and script in, by their hashes: not even
    markup that was smuggled into a run folder could run or fetch anything.
    """
    style, script = _style(), _part("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    return str(
        _template().render(
            report=report, style=style, script=script, policy=policy, shown=SHOWN, drawn=_drawn
        )
    )


def _drawn(figure: Figure) -> dict[str, Any]:
    """Return a figure's SVG for the page, and the links that save it and its data."""
    from markupsafe import Markup

    svg = draw(figure.plot, figure.slug, figure.title, figure.alt)
    css = _part("colours.css").replace("light dark", "light") + _part("plots/plot.css")
    return {
        "svg": Markup(svg),  # made by an XML writer, which escapes
        "save": _link("image/svg+xml", standalone(svg, css)),
        "csv": csv_link(figure.data.csv()),
    }


def csv_link(text: str) -> str:
    """Return a link that has a CSV file in itself."""
    return _link("text/csv", text)


def _link(kind: str, text: str) -> str:
    return f"data:{kind};charset=utf-8,{quote(text, safe=_PLAIN)}"


#: What needs no escape in a link that stands in quotation marks.
_PLAIN = " ,;:/=()[]{}@!$*'+|.-_~"


@cache
def _style() -> str:
    dark = _part("dark.css")
    return "\n".join(
        [
            _part("colours.css"),
            f"@media screen and (prefers-color-scheme: dark) {{\n{dark}}}",
            _part("plots/plot.css"),
            _part("page.css"),
        ]
    )


@cache
def _part(name: str) -> str:
    return files("fedretune.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the text's hash as a content security policy names it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fedretune.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["csv_link"] = csv_link
    return environment.get_template("page.html")
