"""The report of one run."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fedretune.report import about, by_finding, by_site, costs, learning, scores
from fedretune.report.blocks import Answer, Report
from fedretune.report.numbers import Numbers, figure, size
from fedretune.report.run import Run

#: Names that a warning tells; the section that it points to has all.
TOLD = 6


def report_of(run: Run, defaults: Mapping[str, Any] | None = None) -> Report:
    """Return the report of a run, as far as it is.

    Parameters
    ----------
    run : Run
    defaults : mapping | None (default: None)
        Defaults of the keys, so that the command tells only what differs from them.
    """
    numbers = Numbers(run)
    sections = [learning.section(numbers), by_finding.section(numbers), by_site.section(numbers)]
    sections += [*costs.sections(numbers), *scores.sections(numbers)]
    sections += [about.undefined(numbers), about.what_was_run(numbers, defaults)]
    return Report(
        f"Run {run.name}",
        subtitle(numbers),
        verdict(numbers),
        list(answers(numbers)),
        list(warnings(numbers)),
        learning.curve(numbers),
        sections,
    )


def subtitle(numbers: Numbers) -> str:
    """Return what was run, in a line."""
    config, sites = numbers.run.config, len(numbers.sites())
    parts = [
        f"method {config.get('method', '?')}",
        f"scenario {config.get('scenario', '?')}",
        f"{sites} sites" if sites != 1 else "1 site",
        f"{config.get('experiences', '?')} experiences of {config.get('rounds', '?')} rounds",
        f"strategy {config.get('strategy', '?')}",
        f"backbone {config.get('backbone', '?')}",
        f"seed {config.get('seed', '?')}",
    ]
    if config.get("attack"):
        parts.insert(3, f"attack {config['attack']} by {config.get('attackers', '?')}")
    return ", ".join(parts)


def verdict(numbers: Numbers) -> str:
    """Return the answer in a sentence or two."""
    if numbers.last is None:
        return "Nothing has been evaluated yet."
    if not numbers.trained:
        return (
            f"Nothing was trained: {numbers.label(numbers.last)}, the pooled macro AUROC is "
            f"{figure(numbers.final)}."
        )
    change = numbers.final - numbers.zero_shot
    done, all_ = len(numbers.trained), numbers.run.config.get("experiences", "?")
    when = (
        f"After all {all_} experiences" if done == all_ else f"After {done} of {all_} experiences"
    )
    if numbers.at_once:
        when = "Trained on all experiences at once"
    text = f"{when}, the pooled macro AUROC is {figure(numbers.final)}"
    if not math.isnan(change):
        way = "above" if change >= 0 else "below"
        text += f": {abs(change):.3f} {way} the frozen model ({figure(numbers.zero_shot)})"
    forgot = numbers.retention.forgetting
    if not math.isnan(forgot):
        text += f". Of what was learnt, {figure(forgot)} was forgotten"
    return f"{text}."


def answers(numbers: Numbers) -> Iterator[Answer]:
    """Yield the figures of the first screen; those that there are none of are left out."""
    change = numbers.final - numbers.zero_shot
    against = f"{change:+.3f} against zero-shot" if numbers.trained else ""
    yield Answer("Final AUROC", figure(numbers.final), against)
    yield Answer("Zero-shot AUROC", figure(numbers.zero_shot), "the frozen model")
    left = (
        ("Forgetting", numbers.retention.forgetting, ".3f", "0 is none"),
        ("Finding forgetting", numbers.finding_forgetting, ".3f", "since each was best"),
        ("Backward transfer", numbers.retention.backward_transfer, "+.3f", ""),
    )
    for label, value, form, note in left:
        if not math.isnan(value):
            yield Answer(label, figure(value, form), note)
    sent = numbers.bytes_up_per_site_round
    if not math.isnan(sent):
        total = size(numbers.bytes_by_direction["up"])
        yield Answer("Sent by a site in a round", size(sent), f"{total} up in all")
    yield from privacy(numbers.run.summary)
    if not math.isnan(numbers.seconds):
        yield Answer("Time", f"{numbers.seconds:,.0f} s")


def privacy(summary: Mapping[str, Any]) -> Iterator[Answer]:
    """Yield what a run with differential privacy spent, if it was one."""
    epsilon, delta = summary.get("epsilon"), summary.get("delta")
    if isinstance(epsilon, int | float):
        note = f"at delta {delta:.1e}" if isinstance(delta, int | float) else ""
        yield Answer("Epsilon", f"{epsilon:.2f}", note)


def warnings(numbers: Numbers) -> Iterator[str]:
    """Yield what must be known before a figure is believed."""
    run = numbers.run
    done, all_ = numbers.rounds
    so_far = f"{done} of {all_} rounds are done" if all_ else "no round is done"
    if run.status == "failed":
        yield f"This run stopped, and {so_far}. Reason: {run.summary.get('reason', 'unknown')}"
    elif run.status != "complete":
        yield (
            f"This run has not come to its end: {so_far}, and the figures are of these. It goes "
            f"on, or was stopped: then the same command with --name {run.name} --resume goes on."
        )
    for file, lines in run.broken.items():
        were = "line is" if lines == 1 else "lines are"
        yield f"{file}: {lines:,} {were} broken or not whole, and left out here."
    yield from _undefined(numbers)
    if left_out := sorted(set(numbers.left_out["site"])):
        yield (
            f"Not all sites took part throughout ({few(left_out)}): see Sites for how often and "
            "why."
        )
    if isinstance(cells := run.summary.get("suppressed_cells"), dict) and cells:
        yield f"Small counts were sent as 0 by {few(sorted(cells))}: pooled figures lack them."


def _undefined(numbers: Numbers) -> Iterator[str]:
    if numbers.last is None:
        return
    section = about.undefined(numbers)
    if section.tables:
        names = list(dict.fromkeys(str(row[0]) for row in section.tables[0].data.rows))
        yield f"No AUROC in one experience or more, and left out of its mean: {few(names)}."


def few(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more
