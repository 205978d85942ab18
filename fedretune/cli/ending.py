"""What is told of a run at its end: the table of its experiences, and its figures in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

#: Widths in characters of a figure's column, and of the table's first and last together.
FIGURE, EDGES = 8, 26

#: What a site's statuses, as ``sites.csv`` has them, are to a reader.
IN_WORDS = {
    "quarantined": "reply quarantined",
    "silent": "no reply",
    "refused": "refused",
    "failed": "failed",
    "aside": "put aside",
    "late": "late reply dropped",
    "repeated": "second reply dropped",
    "no-images": "sits out",
    "suppressed": "small counts left out",
    "noised": "counts have noise",
}

#: Sites that the end of a run names with what was left out of them.
LEFT_OUT = 6


def final_table(summary: Mapping[str, Any], width: int) -> Table:
    """Return the table of pooled macro AUROC on each experience after each experience.

    Where not all columns fit into `width` characters, those in the middle are left out.
    """
    first, last = _columns(summary["experiences"], width)
    table = Table()
    table.add_column("after")
    for experience in first:
        table.add_column(f"{experience + 1}", justify="right")
    if last:
        table.add_column("...")
    for experience in last:
        table.add_column(f"{experience + 1}", justify="right")
    table.add_column("mean", justify="right", style="bold")
    for name, row in _rows(summary).items():
        cells = [figure(row[e]) for e in first] + ["..."] * bool(last)
        cells += [figure(row[e]) for e in last]
        table.add_row(name, *cells, figure(_mean(row)))
    return table


def _rows(summary: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Return the table's rows by name: what was there before training, then after each step."""
    rows = {"zero-shot": summary["zero_shot_by_experience"]}
    trained = summary["auroc_after_experience"]
    if len(trained) == 1 < summary["experiences"]:
        return {**rows, "all at once": trained[0]}
    return rows | {f"experience {number}": row for number, row in enumerate(trained, start=1)}


def _columns(experiences: int, width: int) -> tuple[range, range]:
    """Return the first and the last experiences that fit; all are first when all fit."""
    fit = (width - EDGES) // FIGURE
    if experiences <= fit:
        return range(experiences), range(0)
    half = max((fit - 1) // 2, 1)
    return range(half), range(experiences - half, experiences)


def closing_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    yield from _figures_and_bytes(summary)
    if undefined := summary["undefined_findings"]:
        shown = ", ".join(
            f"{escape(finding)} ({_listed(experiences, summary['experiences'])})"
            for finding, experiences in undefined.items()
        )
        yield (
            "[yellow]No AUROC, and so left out of the means,[/] where there are no positive or no "
            f"negative test images: {shown}."
        )
    if left_out := summary["quarantined"]:
        shown = "; ".join(map(_left_out, left_out[:LEFT_OUT]))
        more = "; ..." if len(left_out) > LEFT_OUT else ""
        yield f"[yellow]Not all took part throughout:[/] {shown}{more}. sites.csv has every time."


def _left_out(entry: Mapping[str, Any]) -> str:
    """Say in words what is left out of a site, and its commonest reason."""
    words = in_words(entry["status"])
    times = "once" if entry["times"] == 1 else f"{entry['times']} times"
    return escape(f"{entry['site']} {words} {times} ({entry['reasons'][0]})")


def in_words(status: str) -> str:
    return IN_WORDS.get(status, status)


def _figures_and_bytes(summary: Mapping[str, Any]) -> Iterator[str]:
    figures = f"Zero-shot {figure(summary['zero_shot_auroc'])}"
    sent = f"{size(summary['bytes_up'])} up, {size(summary['bytes_down'])} down, in "
    sent += f"{summary['wall_seconds']:.0f} s."
    if not summary["auroc_after_experience"]:
        untrained = summary["untrained_auroc"]
        figures += "" if untrained is None else f", untrained {figure(untrained)}"
        yield f"{figures}; nothing was trained."
        yield f"Sent to evaluate: {sent}"
        return
    yield (
        f"{figures}, final {figure(summary['final_auroc'])}; forgetting "
        f"{figure(summary['forgetting'])}, backward transfer "
        f"{figure(summary['backward_transfer'], '+.3f')}."
    )
    a_round = size(summary["bytes_up_per_site_round"])
    yield f"Sent by each site in a round: {a_round}; in all {sent}"


def _listed(experiences: list[int], count: int) -> str:
    """Return 0-based experiences as a person counts them: "1, 3", or "all"."""
    if len(experiences) == count:
        return "all"
    return ", ".join(str(experience + 1) for experience in experiences)


def _mean(row: list[float | None]) -> float | None:
    defined = [value for value in row if value is not None]
    return sum(defined) / len(defined) if defined else None


def figure(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
