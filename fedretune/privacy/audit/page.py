"""An audit for a person: one page, in the report's clothes."""

from fedretune.privacy.audit.verdict import Verdict
from fedretune.report.blocks import Answer, Column, Data, Report, Section, Table
from fedretune.report.numbers import size


def page_of(verdict: Verdict) -> Report:
    """Return the page; `fedretune.report.page.render` makes it HTML."""
    return Report(
        f"Privacy audit of {verdict.run}",
        "What left the sites, and whether anything else did",
        sentence(verdict),
        _answers(verdict),
        [*verdict.objections[:20], *_missed(verdict)],
        None,
        [_left(verdict), _sites(verdict), _searched(verdict), _limits()],
    )


def sentence(verdict: Verdict) -> str:
    """Return the verdict in a sentence or two."""
    if not verdict.passed:
        many = len(verdict.objections)
        return f"This run does not pass: {many} objection{'s' if many > 1 else ''}, told below."
    return (
        f"This run passes. Each of the {verdict.messages:,} messages that left a site holds what "
        f"the wire's schema lists and no byte more, and nothing of {verdict.images:,} images, "
        "their vectors and their names was found in them."
    )


def _answers(verdict: Verdict) -> list[Answer]:
    found = sum(verdict.controls.values())
    return [
        Answer("Verdict", "pass" if verdict.passed else "FAIL"),
        Answer("Messages that left", f"{verdict.messages:,}", size(verdict.bytes)),
        Answer("Images searched for", f"{verdict.images:,}", f"found: {verdict.found}"),
        Answer("Controls found", f"{found} of {len(verdict.controls)}", "hidden by the audit"),
    ]


def _missed(verdict: Verdict) -> list[str]:
    return [
        f"The search does not see: {what}." for what, found in verdict.controls.items() if not found
    ]


def _left(verdict: Verdict) -> Section:
    columns = [Column(name) for name in ("message", "record", "name", "shape", "type")]
    columns.append(Column("in how many messages", ","))
    rows = [
        (each.kind, each.record, each.name, _shape(each.shape), each.dtype, each.times)
        for each in verdict.left
    ]
    text = "Every array and number, by name, in all messages of all sites."
    return Section("left", "What left", [text], tables=[Table("left-all", "", Data(columns, rows))])


def _sites(verdict: Verdict) -> Section:
    columns = [Column(name) for name in ("site", "experience", "round")]
    columns += [Column(name, ",") for name in ("messages", "bytes")]
    rows = [
        (each.site, _from_one(each.experience), _from_one(each.round), each.messages, each.bytes)
        for each in verdict.sites
    ]
    text = "The handshake is a node's, which has no site's name yet. A dash: of no round."
    table = Table("rounds-all", "", Data(columns, rows))
    return Section("rounds", "By site and round", [text], tables=[table])


def _searched(verdict: Verdict) -> Section:
    columns = [Column("form and way to hide it"), Column("found")]
    rows = [(what, "yes" if found else "no") for what, found in verdict.controls.items()]
    texts = [
        f"{verdict.pieces:,} pieces of {verdict.images:,} images (the file, its pixels, its "
        f"vector in several number formats) and {verdict.names:,} names of images and patients "
        "were searched for at every byte of every message, and behind base64, hex, zlib, gzip, "
        "bzip2 and xz, also one inside another.",
        "The audit itself hid one image in one message in each of the ways below. What it did not "
        "find there it would not have found elsewhere.",
    ]
    if verdict.unsearched:
        texts.append(
            f"{verdict.unsearched:,} names are too short to be told from chance, and were not."
        )
    table = Table("controls-all", "Controls", Data(columns, rows))
    return Section("search", "What was searched for", texts, tables=[table])


def _limits() -> Section:
    texts = [
        "That raw images stay is not privacy: what was learnt from them is in the numbers that "
        "left. `fedretune privacy attack` measures what those give away.",
        "Not found would be what was encrypted, compressed without a header, or spread over the "
        "low bits of weights. The schema and the byte count leave no room beside the weights; "
        "in their low bits there is room, for whoever writes the site's code.",
        "The audit reads what the server kept. A hospital's own proof is its own ledger, and its "
        "guard, which runs on its machine.",
    ]
    return Section("limits", "What this does not prove", texts)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one"


def _from_one(number: int) -> str:
    return "-" if number < 0 else str(number + 1)
