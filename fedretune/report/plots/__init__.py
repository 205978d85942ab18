"""Plots as SVG: small, without a script, coloured by the page's CSS (`plot.css`).

Nothing is told by colour alone: lines differ in their dashes and markers too, and a heat map has
its figures in its cells or in the table beside it.
"""

from xml.etree import ElementTree as Xml

from fedretune.report.plots.heat_map import HeatMap, draw_cells
from fedretune.report.plots.lines import LinePlot, draw_lines
from fedretune.report.plots.marks import RIGHT, WIDTH, text

Plot = LinePlot | HeatMap
_SPACE = "{http://www.w3.org/2000/svg}"


def draw(plot: Plot, slug: str, title: str, alt: str) -> str:
    """Return a plot as an ``<svg>`` element.

    Parameters
    ----------
    plot : Plot
    slug : str
        Makes its ids unique in the page.
    title, alt : str
        What a screen reader says of it.
    """
    svg = Xml.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img"})
    svg.set("aria-labelledby", f"{slug}-title {slug}-desc")
    text(svg, "title", title, id=f"{slug}-title")
    text(svg, "desc", alt, id=f"{slug}-desc")
    size = draw_lines(svg, plot) if isinstance(plot, LinePlot) else draw_cells(svg, plot)
    svg.set("viewBox", f"0 0 {size[0]} {size[1]}")
    svg.set("width", str(size[0]))
    svg.set("height", str(size[1]))
    if size[0] > WIDTH + RIGHT:
        svg.set("class", "wide")  # is scrolled rather than made small
    return Xml.tostring(svg, encoding="unicode")


def standalone(svg: str, css: str) -> str:
    """Return a drawn plot as a file of its own, with its style inside."""
    root = Xml.fromstring(svg)
    style = Xml.Element(f"{_SPACE}style")
    style.text = css
    paper = Xml.Element(f"{_SPACE}rect")
    paper.attrib.update({"width": "100%", "height": "100%", "class": "paper"})
    root[2:2] = [style, paper]
    Xml.register_namespace("", "http://www.w3.org/2000/svg")
    return Xml.tostring(root, encoding="unicode", xml_declaration=True)
