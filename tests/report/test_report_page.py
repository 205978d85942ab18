"""The page: everything is in it, nothing of a run is markup, nothing asks a network."""

import base64
import csv
import hashlib
import io
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from fedretune.errors import UserError
from fedretune.report import write_report
from fedretune.report.about import again
from fedretune.report.blocks import Column, Data
from fedretune.report.compare import compare
from fedretune.report.page import render
from fedretune.report.run import read_run
from fedretune.report.single import report_of
from tests.report.made_runs import FINDINGS, make_run

HOSTILE = "<script>alert(1)</script>\"'&"
VOID = {"meta", "link", "br"}
SECTIONS = [
    "learning",
    "findings",
    "sites",
    "traffic",
    "time",
    "reliability",
    "roc",
    "undefined",
    "run",
]


class Page(HTMLParser):
    """What a page holds; every element is closed, and every id its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []
        ids = [each["id"] for _, each in self.tags if "id" in each]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" not in self.open and "style" not in self.open:
            self.text.append(data)

    def said(self) -> str:
        return " ".join(" ".join(self.text).split())

    def links(self, kind: str) -> dict[str, str]:
        """Return what a click saves, by its file's name."""
        found = [each for tag, each in self.tags if tag == "a" and "download" in each]
        return {
            each["download"]: unquote(each["href"].partition(",")[2])
            for each in found
            if each["href"].startswith(f"data:{kind};")
        }


def page_of(folder, **options) -> Page:
    return Page(render(report_of(read_run(folder), **options)))


def test_a_report_has_every_section_in_order(tmp_path):
    page = page_of(make_run(tmp_path))
    found = [each.get("id") for tag, each in page.tags if tag == "section" and each.get("id")]
    assert found == SECTIONS
    assert sum(tag == "h1" for tag, _ in page.tags) == 1


def test_every_plot_has_its_data_and_can_be_saved(tmp_path):
    page = page_of(make_run(tmp_path))
    figures = [each["id"] for tag, each in page.tags if tag == "figure"]
    plots = page.links("image/svg+xml")
    tables = page.links("text/csv")
    assert len(figures) == sum(tag == "svg" for tag, _ in page.tags) > 10
    for slug in figures:
        assert plots[f"{slug}.svg"].startswith("<?xml")
        assert len(list(csv.reader(io.StringIO(tables[f"{slug}.csv"])))) > 1


def test_the_csv_of_a_plot_has_the_runs_figures(tmp_path):
    folder = make_run(tmp_path)
    rows = csv.DictReader(io.StringIO(page_of(folder).links("text/csv")["matrix.csv"]))
    run = read_run(folder)
    wanted = run.auroc.query(
        "scoring == 'difference' and after_experience == 1 and experience == 0"
    )
    (last,) = [row for row in rows if row["evaluated"] == "after 2"]
    assert float(last["experience 1"]) == pytest.approx(wanted["auroc"].mean(), abs=1e-6)


def test_nothing_that_a_run_says_is_markup(tmp_path):
    findings = (f"A{HOSTILE}", f"B{HOSTILE}")
    folder = make_run(tmp_path, findings=findings, site_name=HOSTILE, method=HOSTILE)
    (folder / "summary.json").write_text('{"status": "failed", "reason": "<img src=x>%s"}')
    page = page_of(folder)
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert f"A{HOSTILE}" in page.said()
    both = render(compare([read_run(folder), read_run(make_run(tmp_path, "other"))]))
    assert sum(tag == "script" for tag, _ in Page(both).tags) == 1


def test_nothing_in_a_page_points_outside_it(tmp_path):
    text = render(report_of(read_run(make_run(tmp_path))))
    page = Page(text)
    for tag, each in page.tags:
        for name in ("href", "src", "xlink:href", "action"):
            target = each.get(name)
            assert target is None or target.startswith(("#", "data:")), (tag, target)
        assert not [name for name in each if name.startswith("on") or name == "style"]
    outside = set(re.findall(r"https?://[^\s\"'<)]+", unquote(text)))
    assert outside == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert "@import" not in text


def test_the_policy_names_the_hashes_of_the_style_and_the_script(tmp_path):
    text = render(report_of(read_run(make_run(tmp_path))))
    policy = next(each["content"] for _, each in Page(text).tags if "http-equiv" in each)
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", re.sub(r"<svg.*?</svg>", "", text), re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_an_unfinished_run_is_reported_as_far_as_it_is(tmp_path):
    said = page_of(make_run(tmp_path, finished=False, experiences=3)).said()
    assert "1 of 3 rounds are done" in said
    assert "After 1 of 3 experiences" in said


def test_a_run_that_has_only_begun_is_reported(tmp_path):
    folder = tmp_path / "begun"
    folder.mkdir()
    (folder / "config.toml").write_text('[config]\nmethod = "retune"\n')
    said = page_of(folder).said()
    assert "Nothing has been evaluated yet" in said
    assert "no round is done" in said


def test_a_failed_run_tells_its_reason(tmp_path):
    folder = make_run(tmp_path, finished=False)
    (folder / "summary.json").write_text('{"status": "failed", "reason": "the quorum is 3"}')
    assert "the quorum is 3" in page_of(folder).said()


def test_broken_lines_are_left_out_counted_and_told(tmp_path):
    folder = make_run(tmp_path)
    for name, line in (("auroc.csv", "zero-shot,x\n"), ("metrics.jsonl", "{\n{\n")):
        with (folder / name).open("a") as file:
            file.write(line)
    said = page_of(folder).said()
    assert "auroc.csv: 1 line is broken" in said
    assert "metrics.jsonl: 2 lines are broken" in said


def test_an_undefined_finding_is_named_and_never_counted_as_0(tmp_path):
    page = page_of(make_run(tmp_path, lacking=True))
    assert f"left out of its mean: {FINDINGS[0]}." in page.said()
    rows = list(csv.reader(io.StringIO(page.links("text/csv")["undefined-table.csv"])))
    assert rows[1] == [FINDINGS[0], "1", "0", "80"]


def test_sites_that_were_left_out_are_told_with_the_reason(tmp_path):
    folder = make_run(tmp_path)
    with (folder / "sites.csv").open("a") as file:
        file.write("site-2,0,0,refused,too many rounds\n" * 3)
    page = page_of(folder)
    rows = list(csv.DictReader(io.StringIO(page.links("text/csv")["sites-table.csv"])))
    assert [row["refused"] for row in rows] == ["0", "3"]
    assert "too many rounds" in page.said()


def test_a_run_without_histograms_says_so(tmp_path):
    folder = make_run(tmp_path)
    for path in (folder / "histograms").iterdir():
        path.unlink()
    assert "This run kept no histograms" in page_of(folder).said()


def test_epsilon_is_on_the_first_screen_where_there_is_one(tmp_path):
    folder = make_run(tmp_path)
    assert "Epsilon" not in page_of(folder).said()
    (folder / "summary.json").write_text('{"status": "complete", "epsilon": 3.2, "delta": 1e-5}')
    assert "Epsilon 3.20 at delta 1.0e-05" in page_of(folder).said()


def test_several_runs_are_side_by_side_with_differences_and_deviations(tmp_path):
    made = [make_run(tmp_path, "a1"), make_run(tmp_path, "a2", seed=2)]
    made.append(make_run(tmp_path, "b1", method="joint"))
    page = Page(render(compare([read_run(path) for path in made])))
    rows = list(csv.reader(io.StringIO(page.links("text/csv")["side-by-side.csv"])))
    first, second = (dict(zip(rows[0], row, strict=True)) for row in rows[1:])
    assert (first["config"], first["runs"], second["runs"]) == ("retune", "2", "1")
    difference = float(second["final AUROC"]) - float(first["final AUROC"])
    assert float(second["difference"]) == pytest.approx(difference, abs=2e-6)
    assert float(second["share of joint"]) == 1
    assert "final AUROC, " in page.said()
    assert f"{difference:+.3f}, 100.0% of joint" in page.said()


def test_runs_of_other_findings_are_explained_and_compared_one_by_one(tmp_path):
    made = [make_run(tmp_path, "a"), make_run(tmp_path, "b", findings=("Mass", "Hernia", "Nodule"))]
    page = Page(render(compare([read_run(path) for path in made])))
    assert "not of the same findings" in page.said()
    rows = list(csv.reader(io.StringIO(page.links("text/csv")["findings-table.csv"])))
    names = {row[0]: row[1:3] for row in rows[1:]}
    assert names["Edema"][1] == names["Hernia"][0] == ""
    assert all(names["Mass"])


def test_what_is_to_know_of_many_runs_does_not_bury_the_answer(tmp_path):
    made = [make_run(tmp_path, f"r{seed}", seed=seed, finished=False) for seed in range(1, 9)]
    page = Page(render(compare([read_run(path) for path in made])))
    items = sum(tag == "li" for tag, _ in page.tags)
    assert items < 10
    assert "something to know first of r1, r2, r3, r4, r5, r6 and 2 more" in page.said()
    rows = list(csv.DictReader(io.StringIO(page.links("text/csv")["runs-table.csv"])))
    assert all("1 of 2 rounds are done" in row["to know first"] for row in rows)


def test_no_cell_of_a_csv_is_a_formula():
    data = Data([Column("=1+1"), Column("x", ".3f")], [("@SUM(A1)", -0.5), ("a", float("nan"))])
    assert data.csv() == "'=1+1,x\n'@SUM(A1),-0.5\na,\n"


def test_the_command_that_runs_it_again_names_what_is_not_at_its_default():
    config = {
        "seed": 2,
        "name": "x",
        "method": "ewc",
        "train.lr": 0.1,
        "allow-hub": True,
        "groups": "a b",
    }
    defaults = {**config, "seed": 1, "train.lr": 0.5, "allow-hub": False, "groups": ""}
    told = again(config, defaults)
    assert told == (
        "fedretune simulate --seed 2 --set train.lr=0.1 --set allow-hub=true --set 'groups=a b'"
    )
    assert "--method ewc" in again(config, None)


def test_a_report_replaces_the_one_before_and_a_file_that_cannot_be_is_told(tmp_path):
    folder = make_run(tmp_path)
    out = tmp_path / "report.html"
    out.write_text("old")
    assert write_report([folder, folder], out) == out
    assert out.read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(UserError, match="Cannot write"):
        write_report([folder], folder / "config.toml" / "report.html")


def test_a_report_of_a_run_stays_far_below_3_mb(tmp_path):
    findings = tuple(f"Finding {number}" for number in range(14))
    folder = make_run(tmp_path, findings=findings, sites=12, experiences=6)
    assert len(render(report_of(read_run(folder))).encode()) < 1.5e6
