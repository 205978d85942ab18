"""Secure sums over the federation: four exchanges, after which the server knows a sum.

Keys, shares, masked vectors, unmasking; `fedretune.privacy.secure` says why. A site that drops out
of one is in none of those after it. Below the threshold nothing has been revealed of anybody, and
the run ends, resumable.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import ConfigRecord, RecordDict

from fedretune import wire
from fedretune.errors import UserError
from fedretune.handshake import SIGNATURE
from fedretune.privacy.secure.about import About
from fedretune.privacy.secure.ring import Ring
from fedretune.privacy.secure.schema import KEYS, SHARES, TOLD, masked_schema
from fedretune.privacy.secure.server import MaskedSum, UnmaskingError, checked_keys
from fedretune.privacy.secure.sharing import BOX, SHARE
from fedretune.privacy.secure.site import PublicKeys
from fedretune.privacy.secure.threshold import threshold_of
from server.federation import Federation
from server.kept_sums import Sum
from server.messages import content_of
from server.replies import Reply

Content = Callable[[str], RecordDict]
#: By the site that made it, by the site that it is for.
Boxes = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Wanted:
    """What is to be summed.

    Parameters
    ----------
    about : About
    sites : sequence of str
        Those that are asked.
    content : callable (site) -> RecordDict
        What a site gets beside the others' boxes, to make its vector from.
    numbers : int
        Of a vector.
    ring : callable (sites) -> Ring
        In which the vectors of so many are summed.
    private : bool (default: False)
        Whether replies also say what privacy is spent.
    enough : callable (sites)
        Raises `UserError` if so few are too few, before anything is unmasked.
    """

    about: About
    sites: Sequence[str]
    content: Content
    numbers: int
    ring: Callable[[int], Ring]
    enough: Callable[[int], None]
    private: bool = False


@dataclass(frozen=True)
class Summing:
    """One sum under way, over a `federation`; `share` is the config's ``secure-threshold``."""

    federation: Federation
    share: float
    wanted: Wanted

    def result(self) -> Sum:
        """Return the sum of the vectors of those that stayed.

        Raises
        ------
        UserError
            Too few stayed, or what they told does not take the masks off.
        """
        keys, signatures = self._keys()
        threshold = threshold_of(len(keys), self.share)
        self._check(len(keys), threshold, "told their keys")
        boxes = self._boxes(keys, signatures)
        self._check(len(boxes), threshold, "shared their secrets out")
        ring, count = self.wanted.ring(len(keys)), self.wanted.numbers
        total = MaskedSum(self.wanted.about.text, keys, boxes, threshold, count, ring)
        said = self._add_vectors(total, ring, boxes)
        self._check(len(total.survivors), threshold, "sent a vector")
        self.wanted.enough(len(total.survivors))
        told = self._told(total.survivors, boxes)
        self._check(len(told), threshold, "stayed to unmask the sum")
        try:
            return Sum(ring.signed(total.unmasked(told)), said)
        except UnmaskingError as error:
            raise UserError(f"Secure aggregation: {error} ({self._where}).") from error

    def _keys(self) -> tuple[dict[str, PublicKeys], dict[str, str]]:
        """Return the keys of those that answer, without those of no use to the others.

        And what they have signed them with, for the other sites to check.
        """
        found: dict[str, PublicKeys] = {}
        signatures: dict[str, str] = {}
        for site, reply in self._ask("query.keys", self.wanted.sites, self._bare, KEYS):
            told = reply.scalars["keys"]
            try:
                found[site] = checked_keys(str(told["mask"]), str(told["seal"]), found.values())
                signatures[site] = str(reply.scalars.get(SIGNATURE, {}).get("ecdsa", ""))
            except ValueError as error:
                self._unsound(site, str(error))
        return found, signatures

    def _boxes(
        self, keys: Mapping[str, PublicKeys], signatures: Mapping[str, str]
    ) -> dict[str, dict[str, str]]:
        """Return what each that shares its secrets has for each of the others."""
        columns = {
            "sites": list(keys),
            "mask": [each.mask.hex() for each in keys.values()],
            "seal": [each.seal.hex() for each in keys.values()],
        }
        if any(signatures.values()):  # of simulated sites, none is
            columns[SIGNATURE] = [signatures[site] for site in keys]
        found = {}
        for site, reply in self._ask("query.shares", keys, self._bare, SHARES, peers=columns):
            boxes = _by_site(reply.scalars["shares"], "to", "boxes", BOX)
            if boxes is None or set(boxes) != set(keys) - {site}:
                self._unsound(site, "boxes of shares for other sites than told their keys")
            else:
                found[site] = boxes
        return found

    def _add_vectors(
        self, total: MaskedSum, ring: Ring, boxes: Boxes
    ) -> dict[str, wire.ScalarRecords]:
        """Add up what comes; return what each site says beside its vector."""
        wanted, said = self.wanted, dict[str, wire.ScalarRecords]()

        def content(site: str) -> RecordDict:
            mine = {sender: each[site] for sender, each in boxes.items() if sender != site}
            made = wanted.content(site)
            made["boxes"] = ConfigRecord({"sites": list(mine), "boxes": list(mine.values())})
            return made

        schema = masked_schema(wanted.numbers, ring.width, wanted.private)
        for site, reply in self._ask(wanted.about.kind, boxes, content, schema):
            total.add(site, reply.arrays["masked"]["vector"])
            said[site] = reply.scalars
        return said

    def _told(self, survivors: Sequence[str], boxes: Boxes) -> dict[str, dict[str, bytes]]:
        """Return the shares that those tell who are still there."""
        there = {"sites": list(survivors)}
        found = {}
        for site, reply in self._ask("query.unmask", survivors, self._bare, TOLD, survivors=there):
            shares = _by_site(reply.scalars["told"], "of", "shares", SHARE)
            if shares is None or set(shares) != set(boxes):
                self._unsound(site, "shares of other sites than have masks in the sum")
            else:
                found[site] = {owner: bytes.fromhex(share) for owner, share in shares.items()}
        return found

    def _ask(
        self,
        message_type: str,
        sites: Collection[str],
        content: Content,
        schema: wire.Schema,
        **records: dict[str, list[str]],
    ) -> Iterator[tuple[str, Reply]]:
        """Ask about this sum, with records of texts for all."""
        about = self.wanted.about

        def with_sum(site: str) -> RecordDict:
            made = content(site)
            made["sum"] = ConfigRecord({"kind": about.kind, "model": about.model})
            for name, texts in records.items():
                made[name] = ConfigRecord({**texts})
            return made

        position = (about.experience, about.round)
        return self.federation.ask(message_type, sites, with_sum, schema, *position)

    def _bare(self, site: str) -> RecordDict:
        about = self.wanted.about
        return content_of({}, about.experience, about.round, about.run)()

    def _unsound(self, site: str, why: str) -> None:
        about = self.wanted.about
        self.federation.note(site, about.experience, about.round, "quarantined", why)

    def _check(self, got: int, threshold: int, did: str) -> None:
        if got < threshold:
            raise UserError(
                f"Secure aggregation: only {got} of {len(self.wanted.sites)} sites {did} "
                f"({self._where}), and a sum takes {threshold}; "
                f"{self.federation.folder.path / 'sites.csv'} says why. Nothing of any site was "
                "revealed, and nothing is lost: mend it and go on with --resume."
            )

    @property
    def _where(self) -> str:
        about = self.wanted.about
        where = f"experience {about.experience}"
        return where + (f", round {about.round}" if about.round >= 0 else ", evaluation")


def _by_site(
    told: Mapping[str, wire.Value], names: str, values: str, size: int
) -> dict[str, str] | None:
    """Return hexadecimal values of `size` bytes by site; None where they are none."""
    sites, texts = told[names], told[values]
    assert isinstance(sites, list)
    assert isinstance(texts, list)
    if len(set(sites)) != len(sites) or len(sites) != len(texts):
        return None
    found = {str(site): str(text) for site, text in zip(sites, texts, strict=True)}
    sound = all(_is_hex(text, size) for text in found.values())
    return found if sound else None


def _is_hex(text: str, size: int) -> bool:
    try:
        return len(text) == 2 * size and len(bytes.fromhex(text)) == size
    except ValueError:
        return False
