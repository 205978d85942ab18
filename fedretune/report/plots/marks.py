"""What plots are drawn with."""

from xml.etree import ElementTree as Xml

#: Size in CSS pixels of a plot, such that its text is readable on a screen 360 pixels wide.
WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 10, 38
#: Width of a character, about.
CHARACTER = 6.2
#: What stands where there is no figure: an en dash.
UNDEFINED = "\u2013"

Point = tuple[float, float]


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def line(parent: Xml.Element, look: str, start: Point, end: Point) -> None:
    names = zip(("x1", "y1", "x2", "y2"), (*start, *end), strict=True)
    Xml.SubElement(parent, "line", {"class": look, **{name: f"{value:g}" for name, value in names}})


def text(
    parent: Xml.Element,
    tag: str,
    content: str,
    x: float | None = None,
    y: float = 0.0,
    anchor: str = "",
    id: str = "",
) -> Xml.Element:
    """Add an element with a text in which nothing is markup and nothing breaks XML."""
    element = Xml.SubElement(parent, tag, {"id": id} if id else {})
    if x is not None:
        element.attrib.update({"x": f"{x:.1f}", "y": f"{y:g}"})
    if anchor:
        element.set("text-anchor", anchor)
    element.text = "".join(each if each.isprintable() else "�" for each in content)
    return element
