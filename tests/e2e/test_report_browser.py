"""The report in a real browser: Debian's Chromium, which asks no network and finds no fault."""

import csv
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from fedretune.report import write_report
from tests.report.made_runs import make_run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (apt install chromium)"
)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FINDINGS = ("Mass", "Edema", "Hernia", "Pleural Thickening")
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, Path]:
    """Return the report of one run with something wrong in it, and of four side by side."""
    out = tmp_path_factory.mktemp("runs")
    runs = [
        make_run(out, "one", sites=7, experiences=4, findings=FINDINGS, lacking=True),
        make_run(out, "two", sites=2, seed=2, findings=FINDINGS),
        make_run(out, "three", sites=2, method="ewc", findings=FINDINGS),
        make_run(out, "four", sites=2, seed=3, findings=FINDINGS),
    ]
    with (runs[0] / "sites.csv").open("a") as file:
        file.write("site-2,0,0,refused,too many rounds\nbroken\n")
    return {
        "one": write_report(runs[:1], out / "one.html"),
        "several": write_report(runs, out / "several.html"),
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            args=QUIET,
            accept_downloads=True,
        )
        yield found
        found.close()


@pytest.fixture
def opened(browser, reports):
    """Open a report as a file; at the end nothing was asked for and nothing went wrong."""
    page = browser.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def open_(name: str, width: int = 1440, scheme: str = "light"):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto(reports[name].as_uri())
        return page

    yield open_
    page.close()
    assert wrong == []
    assert {url for url in asked if not url.startswith(("file:", "data:", "blob:"))} == set()
    assert {url for url in asked if url.startswith("file:")} <= {
        path.as_uri() for path in reports.values()
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("name", ["one", "several"])
def test_a_report_fits_shows_its_plots_and_has_no_serious_fault(opened, name, width, scheme):
    page = opened(name, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = page.evaluate(
        """[...document.querySelectorAll("figure svg")].map((svg) => {
            const box = svg.getBoundingClientRect();
            return [svg.querySelectorAll("path[d], rect").length, box.width, box.height];
        })"""
    )
    assert len(drawn) >= (2 if name == "several" else 12)
    assert all(shapes > 0 and across > 200 and up > 30 for shapes, across, up in drawn)
    faults = axe.Axe().run(page).response["violations"]
    assert [each["id"] for each in faults if each["impact"] in SERIOUS] == []


def test_light_and_dark_are_of_other_colours(opened):
    grounds = set()
    for scheme in ("light", "dark"):
        page = opened("one", scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


def column(table, number: int) -> list[str]:
    return [
        row.locator("th, td").nth(number).inner_text() for row in table.locator("tbody tr").all()
    ]


def test_a_table_is_sorted_by_its_headings_and_back(opened):
    table = opened("one").locator("#findings-table")
    before = column(table, 4)
    heading = table.locator("thead th").nth(4)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    values = [float(text) for text in column(table, 4)]
    assert all(a >= b for a, b in pairwise(values))
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(table, 4) == [f"{value:.3f}" for value in sorted(values)]
    table.locator("thead th button").first.click()
    assert heading.get_attribute("aria-sort") is None
    assert column(table, 0) == sorted(FINDINGS)
    assert sorted(before) == sorted(column(table, 4))


def test_an_undefined_figure_is_last_whichever_way_a_table_is_sorted(opened):
    table = opened("several").locator("#side-by-side")
    headings = table.locator("thead th").all_inner_texts()
    number = next(n for n, text in enumerate(headings) if text.startswith("±"))
    for _ in range(2):
        table.locator("thead th button").nth(number).click()
        first, *others = column(table, number)
        assert float(first) > 0
        assert others == ["\u2013"] * 2


@pytest.mark.parametrize(("text", "ending"), [("Data (CSV)", ".csv"), ("Save as SVG", ".svg")])
def test_what_is_behind_a_plot_can_be_saved(opened, tmp_path, text, ending):
    page = opened("one")
    figure = page.locator("figure#matrix")
    with page.expect_download() as found:
        figure.get_by_role("link", name=text).click()
    assert found.value.suggested_filename == f"matrix{ending}"
    saved = tmp_path / "saved"
    found.value.save_as(saved)
    if ending == ".csv":
        rows = list(csv.DictReader(saved.open()))
        assert [row["evaluated"] for row in rows][:3] == ["zero-shot", "untrained", "after 1"]
    else:
        assert saved.read_text().startswith("<?xml")


def test_the_keyboard_reaches_the_content_and_the_tables(opened):
    page = opened("one")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    button = page.locator("#findings-table thead button").first
    button.focus()
    page.keyboard.press("Enter")
    assert page.locator("#findings-table thead th").first.get_attribute("aria-sort") == "ascending"


def test_it_prints_on_a4(opened, tmp_path):
    page = opened("one", scheme="dark")
    page.pdf(path=tmp_path / "it.pdf", prefer_css_page_size=True)
    content = (tmp_path / "it.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/MediaBox [0 0 594.95996 841.91998]" in content or b"/MediaBox [0 0 595" in content
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
