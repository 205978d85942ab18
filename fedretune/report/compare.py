"""The report of several runs, side by side."""

import math
from collections.abc import Callable, Iterator, Sequence

from fedretune.metrics.forgetting import FORMULAS
from fedretune.report.blocks import Answer, Column, Data, Figure, Report, Section, Table
from fedretune.report.groups import Group, compared, differing, group
from fedretune.report.learning import AFTER, points_of
from fedretune.report.numbers import Numbers, figure
from fedretune.report.plots.heat_map import HeatMap
from fedretune.report.plots.lines import KINDS, MANY, LinePlot, Series
from fedretune.report.run import Run
from fedretune.report.single import TOLD, few, warnings
from fedretune.report.site_figures import Evaluation

#: Groups on the first screen.
FIRST = 6
#: What runs that are compared should have in common, with what it means if they have not.
SHARED = (
    ("manifest", "images"),
    ("evaluation-split", "split of the images"),
    ("prompts", "prompts"),
    ("uncertain", "policy for uncertain labels"),
)


def compare(runs: Sequence[Run]) -> Report:
    """Return the report of several runs: those that differ in the seed alone as one group."""
    all_ = [Numbers(run) for run in runs]
    groups = group(all_)
    sections = [_side_by_side(groups), _findings(groups), _runs(groups), _differences(groups)]
    return Report(
        f"{len(all_)} runs side by side",
        _subtitle(groups),
        _verdict(groups),
        list(_answers(groups)),
        [*_comparable(all_), *_of_each(all_)],
        _curves(groups),
        sections,
    )


def _subtitle(groups: Sequence[Group]) -> str:
    keys = differing(groups)
    seeds = f"{len(groups)} configs" if len(groups) > 1 else f"seeds {groups[0].seeds()}"
    return f"{seeds}, which differ in {few(keys)}" if keys else f"one config, {seeds}"


def _verdict(groups: Sequence[Group]) -> str:
    ranked = [each for each in groups if not math.isnan(each.mean(_final))]
    if not ranked:
        return "None of these runs has been evaluated yet."
    best = max(ranked, key=lambda each: each.mean(_final))
    if len(ranked) == 1:
        return f"The pooled macro AUROC ends at {_spread(best, _final)}."
    first = groups[0]
    text = f"The pooled macro AUROC ends highest with {best.label}: {_spread(best, _final)}"
    if best is not first and not math.isnan(first.mean(_final)):
        text += f"; {first.label}, the first, ends at {_spread(first, _final)}"
    return f"{text}. Differences are against the first."


def _answers(groups: Sequence[Group]) -> Iterator[Answer]:
    base = groups[0].mean(_final)
    of_joint = _of_joint([numbers for each in groups for numbers in each.runs])
    for number, each in enumerate(groups[:FIRST]):
        change, share = each.mean(_final) - base, each.mean(of_joint)
        note = "final AUROC" if number == 0 or math.isnan(change) else f"{change:+.3f}"
        note += "" if math.isnan(share) else f", {share:.1%} of joint"
        yield Answer(each.label, _spread(each, _final), note)


def _spread(group: Group, of: Callable[[Numbers], float]) -> str:
    """Return "mean ± deviation", the mean alone where there is one run."""
    deviation = group.deviation(of)
    text = figure(group.mean(of))
    return text if math.isnan(deviation) else f"{text} ± {deviation:.3f}"


def _final(numbers: Numbers) -> float:
    return numbers.final


def _of_joint(all_: Sequence[Numbers]) -> Callable[[Numbers], float]:
    """Return what gives a run's final AUROC as a share of that of `joint` with the same seed."""

    def key(numbers: Numbers) -> tuple[object, ...]:
        names = ("seed", "scenario", "unlabelled", "manifest")
        return tuple(numbers.run.config.get(name) for name in names)

    reached = {
        key(each): each.final
        for each in all_
        if "joint" in str(each.run.config.get("method", "")).split("+")
    }
    return lambda numbers: numbers.final / reached.get(key(numbers), math.nan)


def _epsilon(numbers: Numbers) -> float:
    epsilon = numbers.run.summary.get("epsilon")
    return float(epsilon) if isinstance(epsilon, int | float) else math.nan


def _side_by_side(groups: Sequence[Group]) -> Section:
    all_ = [numbers for each in groups for numbers in each.runs]
    figures: list[tuple[str, str, Callable[[Numbers], float]]] = [
        ("final AUROC", ".3f", _final),
        ("share of joint", ".1%", _of_joint(all_)),
        ("zero-shot", ".3f", lambda each: each.zero_shot),
        ("forgetting", ".3f", lambda each: each.retention.forgetting),
        ("finding forgetting", ".3f", lambda each: each.finding_forgetting),
        ("backward transfer", "+.3f", lambda each: each.retention.backward_transfer),
        ("kB up a site and round", ",.1f", lambda each: each.bytes_up_per_site_round / 1e3),
        ("epsilon", ".2f", _epsilon),
        ("seconds", ",.1f", lambda each: each.seconds),
    ]
    told = [each for each in figures if any(not math.isnan(each[2](n)) for n in all_)]
    columns = [Column("config"), Column("runs", "d")]
    rows: list[list[object]] = [[each.label, len(each.runs)] for each in groups]
    for heading, form, of in told:
        several = any(not math.isnan(each.deviation(of)) for each in groups)
        columns += [Column(heading, form)] + [Column("±", form.lstrip("+"))] * several
        for row, each in zip(rows, groups, strict=True):
            row += [each.mean(of)] + [each.deviation(of)] * several
        if of is _final:
            columns.append(Column("difference", "+.3f"))
            for row, each in zip(rows, groups, strict=True):
                row.append(each.mean(_final) - groups[0].mean(_final))
    note = "± is the standard deviation over seeds, with n - 1. Differences: final AUROC less the "
    note += "first row's."
    table = Table("side-by-side", "Side by side", Data(columns, rows), note)
    return Section("compared", "Side by side", tables=[table], listings=[("Formulas", FORMULAS)])


def _curves(groups: Sequence[Group]) -> Figure | None:
    """Return the pooled AUROC after each experience: the mean of each group, and its spread."""
    series, rows = [], []
    for number, each in enumerate(groups):
        means, deviations = _after_each(each)
        spread = [deviation for _, deviation in points_of(deviations)]
        kind = number if number < KINDS else MANY
        # What is trained all at once stands where the others have had all experiences.
        step = each.runs[0].experiences if each.runs[0].at_once else 1
        points = [(x * step, y) for x, y in points_of(means)]
        series.append(Series(each.label, points, kind, spread))
        rows += [(each.label, *at, means[at], deviations[at]) for at in means]
    if not rows:
        return None
    places = {x for each in series for x, _ in each.points}
    columns = [Column("config"), Column("model"), Column("after experience, from 0", "d")]
    columns += [Column("macro AUROC", ".4f"), Column("deviation", ".4f")]
    told = ", ".join(f"{each.label} {_spread(each, _final)}" for each in groups)
    several = any(len(each.runs) > 1 for each in groups)
    note = "Whiskers: the standard deviation over seeds. " if several else ""
    note += f"Thin lines: all after the first {KINDS}." if len(groups) > KINDS else ""
    return Figure(
        "curves",
        "Pooled macro AUROC",
        f"A line for each config; at the end {told}.",
        LinePlot(AFTER, "AUROC", series, ticks=[(x, f"{x:g}") for x in sorted(places)]),
        Data(columns, rows),
        note.strip(),
    )


def _after_each(group: Group) -> tuple[dict[Evaluation, float], dict[Evaluation, float]]:
    """Return the mean and the deviation of each evaluation."""
    means, deviations = {}, {}
    for evaluation in dict.fromkeys(each for run in group.runs for each in run.evaluations):

        def of(numbers: Numbers, at: Evaluation = evaluation) -> float:
            return numbers.mean(at)

        means[evaluation], deviations[evaluation] = group.mean(of), group.deviation(of)
    return means, deviations


def _findings(groups: Sequence[Group]) -> Section:
    all_ = [numbers for each in groups for numbers in each.runs]
    names = list(dict.fromkeys(name for each in all_ for name in each.run.finding_names))
    values = [[each.mean(_of_finding(name)) for each in groups] for name in names]
    columns = [Column("finding"), *(Column(each.label, ".3f") for each in groups)]
    columns += [Column(f"{each.label}: difference", "+.3f") for each in groups[1:]]
    rows = [
        (name, *row, *(value - row[0] for value in row[1:]))
        for name, row in zip(names, values, strict=True)
    ]
    labels = [str(number) for number in range(1, len(groups) + 1)]
    key = "; ".join(f"{n}: {each.label}" for n, each in zip(labels, groups, strict=True))
    figure_ = Figure(
        "findings-map",
        "Final AUROC of each finding",
        f"A heat map of {len(names)} findings and {len(groups)} configs. The table has its values.",
        HeatMap("config", names, labels, values),
        Data(columns[: len(groups) + 1], [row[: len(groups) + 1] for row in rows]),
        key,
    )
    told = "On all experiences' test images, scored by the difference; the mean over seeds."
    table = Table("findings-table", "Findings at the end", Data(columns, rows))
    figures = [figure_] if names else []
    return Section("findings", "Findings", [told], figures, [table])


def _of_finding(name: str) -> Callable[[Numbers], float]:
    def of(numbers: Numbers) -> float:
        table = numbers.findings
        if name not in table or numbers.last not in table.index:
            return math.nan
        return float(table.loc[numbers.last, name])

    return of


def _runs(groups: Sequence[Group]) -> Section:
    rows = []
    for each in groups:
        for numbers in each.runs:
            seed = numbers.run.config.get("seed")
            row = (numbers.run.name, each.label, seed, numbers.run.status, numbers.final)
            notes = " ".join(warnings(numbers))
            rows.append((*row, numbers.retention.forgetting, len(numbers.left_out), notes))
    columns = [Column("run"), Column("config"), Column("seed", "d"), Column("status")]
    columns += [Column("final AUROC", ".4f"), Column("forgetting", ".4f")]
    columns += [Column("replies left out", ",d"), Column("to know first")]
    told = "fedretune report RUN makes a report of one of them, with its sites, curves and traffic."
    return Section(
        "runs", "Each run", [told], tables=[Table("runs-table", "Runs", Data(columns, rows))]
    )


def _differences(groups: Sequence[Group]) -> Section:
    keys = differing(groups)
    if not keys:
        return Section("differences", "What differs", ["Nothing but the seed."])
    columns = [Column("key"), *(Column(each.label) for each in groups)]
    values = [compared(each.runs[0]) for each in groups]
    rows = [(key, *(each.get(key, "") for each in values)) for key in keys]
    table = Table("differences-table", "What is not the same", Data(columns, rows))
    return Section("differences", "What differs", tables=[table])


def _comparable(all_: Sequence[Numbers]) -> Iterator[str]:
    """Yield why figures of these runs are not to be compared."""
    findings = [set(each.run.finding_names) for each in all_ if each.run.finding_names]
    common = set.intersection(*findings) if findings else set()
    if any(each != common for each in findings):
        some = sorted(set.union(*findings) - common)
        yield (
            "These runs are not of the same findings, and the means over findings are not to be "
            f"compared: {len(common)} are in all of them, and not in all {', '.join(some)}. The "
            "table of findings compares one by one."
        )
    for key, what in SHARED:
        if len({str(each.run.config.get(key)) for each in all_}) > 1:
            yield f"Not the same {what} ({key}): differences may come from that alone."
    backbones = {each.run.about.get("fingerprints", {}).get("backbone") for each in all_}
    if len(backbones - {None}) > 1:
        yield "Not the same backbone: differences may come from that alone."
    if len(set(filter(None, (_tested(each) for each in all_)))) > 1:
        yield "Not tested on as many positives and negatives: the test images are not the same."


def _tested(numbers: Numbers) -> tuple[tuple[str, int, int], ...]:
    """Return how many positives and negatives each finding has; nothing before an evaluation."""
    rows = numbers.run.findings.drop_duplicates("finding")
    columns = (rows["finding"], rows["positives"], rows["negatives"])
    return tuple((str(f), int(p), int(n)) for f, p, n in zip(*columns, strict=True))


def _of_each(all_: Sequence[Numbers]) -> Iterator[str]:
    """Yield the runs' own warnings; of many, how many runs have any, as `_runs` has them all."""
    told = [f"{each.run.name}: {text}" for each in all_ for text in warnings(each)]
    if len(told) <= TOLD:
        yield from told
    else:
        names = [each.run.name for each in all_ if any(warnings(each))]
        yield f"There is something to know first of {few(names)}: see Each run."
