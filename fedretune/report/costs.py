"""What a run cost: bytes by round, and time."""

from collections.abc import Iterator

from fedretune.report.blocks import Column, Data, Figure, Section, Table
from fedretune.report.numbers import Numbers, size
from fedretune.report.plots.lines import LinePlot, Series

#: Events after which the next round begins.
BEFORE_A_ROUND = ("start", "round", "evaluation")
#: With more rounds than these their points have no markers.
MARKED = 40


def sections(numbers: Numbers) -> Iterator[Section]:
    """Yield the traffic and the time, each where there is any."""
    if len(numbers.run.traffic):
        yield _traffic(numbers)
    if seconds := list(_seconds(numbers)):
        yield _time(numbers, seconds)


def _traffic(numbers: Numbers) -> Section:
    traffic = numbers.run.traffic
    total = numbers.bytes_by_direction
    told = (
        f"All messages: {size(total['up'])} from the sites (up), {size(total['down'])} to them "
        f"(down). A site's reply in a round takes {size(numbers.bytes_up_per_site_round)}."
    )
    figures = [_rounds(numbers)] if (traffic["kind"] == "train").any() else []
    sums = traffic.groupby(["kind", "direction"])["bytes"].agg(["size", "sum"])
    rows = [
        (str(kind), str(way), int(count), int(size_) / 1e6)
        for (kind, way), count, size_ in sums.itertuples()
    ]
    columns = [Column("message"), Column("direction"), Column("messages", ",d")]
    columns += [Column("MB", ",.2f")]
    table = Table("traffic-kinds", "By kind of message", Data(columns, rows))
    return Section("traffic", "Traffic", [told], figures, [table])


def _rounds(numbers: Numbers) -> Figure:
    traffic = numbers.run.traffic
    sums = traffic[traffic["kind"] == "train"].groupby(["experience", "round", "direction"])[
        "bytes"
    ]
    table = sums.sum().unstack("direction").reindex(columns=["up", "down"]).fillna(0) / 1e6
    series = [
        Series(way, [(n + 1.0, float(value)) for n, value in enumerate(table[way])], kind)
        for kind, way in enumerate(table)
    ]
    rows = [(e + 1, r + 1, float(up), float(down)) for (e, r), up, down in table.itertuples()]
    columns = [Column("experience", "d"), Column("round", "d")]
    columns += [Column("MB up", ".3f"), Column("MB down", ".3f")]
    top = float(table.to_numpy().max()) * 1.08 or 1.0
    means = f"{table['up'].mean():.2f} MB up, {table['down'].mean():.2f} MB down"
    return Figure(
        "traffic-rounds",
        "Traffic of each round's training",
        f"Over {len(rows)} rounds, all sites together: in the mean {means}.",
        LinePlot("round of the run", "MB", series, y_range=(0.0, top), markers=len(rows) <= MARKED),
        Data(columns, rows),
        f"In the mean {means}.",
    )


def _seconds(numbers: Numbers) -> Iterator[tuple[int, int, float]]:
    """Yield each round's experience and number, from 1, and its seconds."""
    before = None
    for event in numbers.run.events:
        if event["event"] not in BEFORE_A_ROUND:
            continue
        if event["event"] == "round" and before is not None:
            seconds = max(event["time"] - before, 0.0)
            yield event["experience"] + 1, event["round"] + 1, seconds
        before = event["time"]


def _time(numbers: Numbers, rows: list[tuple[int, int, float]]) -> Section:
    times = [row[2] for row in rows]
    points = [(number + 1.0, each) for number, each in enumerate(times)]
    series = [Series("seconds", points, 0)]
    columns = [Column("experience", "d"), Column("round", "d"), Column("seconds", ".3f")]
    mean = sum(times) / len(times)
    plot = LinePlot(
        "round of the run",
        "seconds",
        series,
        y_range=(0.0, max(times) * 1.08 or 1.0),
        markers=len(rows) <= MARKED,
    )
    alt = f"{len(rows)} rounds took {mean:.2f} s in the mean, {max(times):.2f} s at most."
    figure = Figure("seconds-rounds", "Seconds of each round", alt, plot, Data(columns, rows))
    told = (
        f"{numbers.seconds:,.0f} s in all, of which the rounds took {sum(times):,.0f} s; the rest "
        "went into starting and evaluating."
    )
    return Section("time", "Time", [told], [figure])
