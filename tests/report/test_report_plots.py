"""Plots are sound SVG whatever they show, and say in words what they are."""

import math
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.report.plots import draw, standalone
from fedretune.report.plots.heat_map import HeatMap
from fedretune.report.plots.lines import KINDS, MANY, REFERENCE, LinePlot, Series, ticks_of
from fedretune.report.plots.marks import HEIGHT, WIDTH

NAME = st.text(max_size=30)
VALUE = st.one_of(st.floats(-1e6, 1e6), st.just(math.nan))
SPACE = "{http://www.w3.org/2000/svg}"


def lines(points, kind=0, name="a", **options):
    return LinePlot("x", "y", [Series(name, points, kind)], **options)


def parse(svg):
    return Xml.fromstring(svg)


@given(NAME, NAME, st.lists(st.tuples(VALUE, VALUE), max_size=8), st.integers(-2, 12))
def test_any_lines_are_sound_svg_with_a_title(name, title, points, kind):
    root = parse(draw(lines(points, kind, name), "it", title, name))
    assert root.get("aria-labelledby") == "it-title it-desc"
    assert root[0].tag == f"{SPACE}title"
    assert (root[0].text or "") == "".join(c if c.isprintable() else "\ufffd" for c in title)


@given(st.lists(NAME, min_size=1, max_size=4), st.integers(0, 12), st.data())
def test_any_heat_map_has_a_cell_for_each_value(rows, columns, data):
    values = [[data.draw(VALUE) for _ in range(columns)] for _ in rows]
    names = [str(number) for number in range(columns)]
    root = parse(draw(HeatMap("x", rows, names, values), "it", "title", "alt"))
    assert len(root.findall(f".//{SPACE}rect")) == len(rows) * columns


def test_a_line_has_a_point_for_each_value_and_a_gap_for_nan():
    root = parse(draw(lines([(0, 1.0), (1, math.nan), (2, 3.0), (3, 2.0)]), "it", "t", "a"))
    path = root.find(f".//{SPACE}g[@class='kind-0']/{SPACE}path[@class='line']").get("d")
    assert (path.count("M"), path.count("L")) == (2, 1)
    assert len(root.findall(f".//{SPACE}path[@class='marker']")) == 3


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=8))
def test_every_point_lies_inside_the_plot(points):
    root = parse(draw(lines(points), "it", "t", "a"))
    for marker in root.findall(f".//{SPACE}path[@class='marker']"):
        x, y = map(float, marker.get("transform")[len("translate(") : -1].split())
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def test_whiskers_reach_as_far_as_the_spread():
    series = Series("a", [(0, 1.0), (1, 2.0)], 0, [0.5, math.nan])
    root = parse(draw(LinePlot("x", "y", [series], y_range=(0, 4)), "it", "t", "a"))
    (whisker,) = root.findall(f".//{SPACE}line[@class='whisker']")
    reach = abs(float(whisker.get("y1")) - float(whisker.get("y2")))
    assert reach == pytest.approx((HEIGHT - 48) / 4, abs=0.2)


def test_lines_differ_in_more_than_their_colour():
    series = [Series(str(kind), [(0, kind), (1, kind)], kind) for kind in range(KINDS)]
    root = parse(draw(LinePlot("x", "y", series), "it", "t", "a"))
    shapes = {
        root.find(f".//{SPACE}g[@class='kind-{kind}']/{SPACE}path[@class='marker']").get("d")
        for kind in range(KINDS)
    }
    assert len(shapes) == KINDS


def test_one_line_among_many_is_not_in_the_legend():
    series = [Series("all", [(0, 1)], 0), Series("zero", [(0, 1)], REFERENCE)]
    series += [Series(f"site-{n}", [(0, 1)], MANY) for n in range(50)]
    root = parse(draw(LinePlot("x", "y", series), "it", "t", "a"))
    texts = {each.text for each in root.iter(f"{SPACE}text")}
    assert {"all", "zero"} <= texts
    assert "site-1" not in texts


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5))
def test_ticks_are_few_and_within_the_range(low, width):
    found = ticks_of(low, low + width)
    assert len(found) <= 8
    assert all(low - width * 1e-6 <= each <= low + width * (1 + 1e-6) for each in found)


def test_a_saved_plot_is_a_file_with_its_style_inside():
    text = standalone(draw(lines([(0, 1.0)]), "it", "t", "a"), ".line { fill: none; }")
    root = parse(text)
    assert text.startswith("<?xml")
    assert root.find(f"{SPACE}style").text == ".line { fill: none; }"
    assert root.find(f"{SPACE}rect").get("class") == "paper"
