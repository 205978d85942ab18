"""One secure sum, without messages: sites and a server as functions."""

import json
from collections.abc import Collection, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.errors import UserError
from fedretune.privacy.secure.ring import Ring, elements_of
from fedretune.privacy.secure.server import MaskedSum, UnmaskingError
from fedretune.privacy.secure.site import (
    PublicKeys,
    Session,
    admitted,
    begun,
    masked,
    shared,
    told,
)
from fedretune.privacy.secure.threshold import FEWEST, threshold_of

ABOUT = "run/train/0/0"
NUMBERS = 5
RING = Ring(3)
SHARE = 2 / 3


def name(place: int) -> str:
    return f"site-{place}"


class Played:
    """A sum that is played through, with those that drop out before each exchange."""

    def __init__(self, sites: int, vectors: np.ndarray, ring: Ring = RING) -> None:
        self.ring, self.vectors = ring, vectors
        self.sessions: dict[str, Session] = {}
        self.keys: dict[str, PublicKeys] = {}
        for place in range(sites):
            self.sessions[name(place)], self.keys[name(place)] = begun(name(place), ABOUT)

    def share(self, there: Collection[str]) -> dict[str, dict[str, bytes]]:
        boxes = {}
        for site in there:
            self.sessions[site], boxes[site] = shared(self.sessions[site], self.keys, SHARE)
        return boxes

    def mask(
        self, boxes: dict[str, dict[str, bytes]], there: Collection[str]
    ) -> dict[str, np.ndarray]:
        found = {}
        for site in there:
            mine = {sender: each[site] for sender, each in boxes.items() if sender != site}
            self.sessions[site] = admitted(self.sessions[site], mine)
            vector = elements_of(self.vectors[int(site.removeprefix("site-"))])
            found[site] = masked(self.sessions[site], vector, self.ring)
        return found

    def sum_of(self, boxes: Collection[str], vectors: dict[str, np.ndarray]) -> MaskedSum:
        threshold = threshold_of(len(self.keys), SHARE)
        total = MaskedSum(ABOUT, self.keys, boxes, threshold, NUMBERS, self.ring)
        for site, vector in vectors.items():
            total.add(site, vector)
        return total


def vectors(sites: int, seed: int = 0) -> np.ndarray:
    most = RING.most // max(sites, 1)
    return np.random.default_rng(seed).integers(-most, most + 1, (sites, NUMBERS))


@st.composite
def dropouts(draw: st.DrawFn) -> tuple[int, list[Sequence[str]]]:
    """Draw how many sites there are, and who is left after each of three exchanges."""
    sites = draw(st.integers(FEWEST, 7))
    left, stages = [name(place) for place in range(sites)], []
    for _ in range(3):
        left = [site for site in left if draw(st.integers(0, 9)) > 0]
        stages.append(left)
    return sites, stages


@settings(max_examples=60, deadline=None)
@given(dropouts(), st.integers(0, 2**32))
def test_the_sum_of_those_that_sent_a_vector_is_exact_or_nothing_is(
    drawn: tuple[int, list[Sequence[str]]], seed: int
) -> None:
    sites, (sharing, sending, telling) = drawn
    played = Played(sites, vectors(sites, seed))
    threshold = threshold_of(sites, SHARE)
    boxes = played.share(sharing)
    if len(sharing) < threshold:
        for site in sharing:
            mine = {sender: each[site] for sender, each in boxes.items() if sender != site}
            with pytest.raises(UserError, match="too few"):
                admitted(played.sessions[site], mine)
        return
    total = played.sum_of(boxes, played.mask(boxes, sending))
    if len(sending) < threshold:
        for site in sending:
            with pytest.raises(UserError, match="it needs"):
                told(played.sessions[site], sending)
        return
    answers = {site: told(played.sessions[site], sending) for site in telling}
    if len(telling) < threshold:
        with pytest.raises(UnmaskingError):
            total.unmasked(answers)
        return
    plain = played.vectors[[int(site.removeprefix("site-")) for site in sending]].sum(0)
    np.testing.assert_array_equal(RING.signed(total.unmasked(answers)), plain)


def test_a_sum_without_the_last_share_is_noise() -> None:
    played = Played(5, np.zeros((5, NUMBERS), np.int64))
    everybody = sorted(played.keys)
    boxes = played.share(everybody)
    total = played.sum_of(boxes, played.mask(boxes, everybody))
    total._threshold = 3  # a server that does not keep to it: the shares were made for 4
    answers = {site: told(played.sessions[site], everybody) for site in everybody[:3]}
    assert RING.signed(total.unmasked(answers)).any()


def test_one_masked_vector_is_uniform_whatever_it_hides() -> None:
    """A chi-squared test of its bytes: of 255 degrees of freedom, six standard deviations."""
    count, ring = 20_000, Ring(5)
    for value in (0, ring.most // 8):
        sessions, keys = zip(*(begun(name(place), ABOUT) for place in range(3)), strict=True)
        peers = {session.site: key for session, key in zip(sessions, keys, strict=True)}
        both = [shared(session, peers, SHARE) for session in sessions]
        mine = {after.site: boxes["site-0"] for after, boxes in both[1:]}
        vector = elements_of(np.full(count, value))
        sent = masked(admitted(both[0][0], mine), vector, ring)
        counts = np.bincount(sent.ravel(), minlength=256)
        expected = sent.size / 256
        squared = ((counts - expected) ** 2 / expected).sum()
        assert abs(squared - 255) < 6 * np.sqrt(2 * 255)


def test_a_site_tells_of_each_site_one_secret_and_not_both() -> None:
    played = Played(5, vectors(5))
    everybody = sorted(played.keys)
    boxes = played.share(everybody)
    played.mask(boxes, everybody)
    session = played.sessions["site-0"]
    answer = told(session, everybody[:4])
    for owner, share in answer.items():
        held = session.held[owner]
        assert share == (held.self_mask if owner in everybody[:4] else held.mask)
    assert set(answer) == set(everybody)


def after_sharing() -> tuple[Played, dict[str, bytes]]:
    played = Played(4, vectors(4))
    boxes = played.share(sorted(played.keys))
    return played, {sender: each["site-0"] for sender, each in boxes.items() if sender != "site-0"}


def test_a_second_vector_is_not_masked_in_a_session() -> None:
    played, mine = after_sharing()
    session = admitted(played.sessions["site-0"], mine)
    with pytest.raises(UserError, match="out of turn"):
        admitted(session, mine)


def test_secrets_are_shared_out_once() -> None:
    played, _ = after_sharing()
    with pytest.raises(UserError, match="out of turn"):
        shared(played.sessions["site-0"], played.keys, SHARE)


def test_nothing_is_told_before_a_vector_is_masked() -> None:
    played, _ = after_sharing()
    with pytest.raises(UserError, match="out of turn"):
        told(played.sessions["site-0"], sorted(played.keys))


@pytest.mark.parametrize(
    ("survivors", "what"),
    [
        (["site-0", "site-1"], "it needs 3"),
        (["site-1", "site-2", "site-3"], "other sites"),
        (["site-0", "site-1", "site-9"], "other sites"),
        (["site-0", "site-0", "site-1"], "it needs 3"),
    ],
    ids=["few", "without-itself", "stranger", "one-twice"],
)
def test_a_site_refuses_to_unmask_what_is_no_sum(survivors: list[str], what: str) -> None:
    played, mine = after_sharing()
    with pytest.raises(UserError, match=what):
        told(admitted(played.sessions["site-0"], mine), survivors)


def test_a_box_that_was_changed_or_goes_to_another_is_refused() -> None:
    played, mine = after_sharing()
    other = {**mine, "site-1": mine["site-2"]}
    spoilt = {**mine, "site-1": mine["site-1"][:-1] + bytes([mine["site-1"][-1] ^ 1])}
    for boxes in (other, spoilt, {**mine, "site-1": b""}):
        with pytest.raises(UserError, match="changed on its way"):
            admitted(played.sessions["site-0"], boxes)


def test_boxes_of_strangers_or_of_too_few_are_refused() -> None:
    played, mine = after_sharing()
    for boxes in ({**mine, "site-9": b""}, {"site-1": mine["site-1"]}, {**mine, "site-0": b""}):
        with pytest.raises(UserError, match="too few sites, or of others"):
            admitted(played.sessions["site-0"], boxes)


def test_keys_that_are_not_the_sites_own_or_somebody_elses_or_none_are_refused() -> None:
    played = Played(4, vectors(4))
    keys, session = played.keys, played.sessions["site-0"]
    wrong = [
        ({**keys, "site-0": keys["site-1"]}, "own keys"),
        ({site: keys[site] for site in ("site-1", "site-2", "site-3")}, "own keys"),
        ({site: keys[site] for site in ("site-0", "site-1")}, "takes 3"),
        ({**keys, "site-1": keys["site-2"]}, "one key"),
        ({**keys, "site-1": PublicKeys(bytes(32), keys["site-1"].seal)}, "a key that is none"),
        ({**keys, "site-1": PublicKeys(b"short", keys["site-1"].seal)}, "a key that is none"),
    ]
    for peers, what in wrong:
        with pytest.raises(UserError, match=what):
            shared(session, peers, SHARE)


def test_what_one_sum_says_is_not_understood_in_another() -> None:
    played = Played(3, vectors(3))
    session, keys = begun("site-0", "run/train/0/1")
    peers = {**played.keys, "site-0": keys}
    later, _ = shared(session, peers, SHARE)
    _, boxes = shared(played.sessions["site-1"], peers, SHARE)  # about round 0
    _, others = shared(played.sessions["site-2"], peers, SHARE)
    with pytest.raises(UserError, match="changed on its way"):
        admitted(later, {"site-1": boxes["site-0"], "site-2": others["site-0"]})


def test_a_wrong_share_of_a_lost_sites_key_is_found_out() -> None:
    played = Played(4, vectors(4))
    everybody = sorted(played.keys)
    boxes, sending = played.share(everybody), everybody[:3]
    total = played.sum_of(boxes, played.mask(boxes, sending))
    answers = {site: told(played.sessions[site], sending) for site in sending}
    answers["site-1"]["site-3"] = bytes(16)
    with pytest.raises(UnmaskingError, match="site-3"):
        total.unmasked(answers)


def test_a_session_is_the_same_after_the_disk() -> None:
    played, mine = after_sharing()
    for session in (played.sessions["site-1"], admitted(played.sessions["site-0"], mine)):
        assert Session.from_json(session.to_json()) == session
        json.loads(session.to_json())


@given(st.integers(FEWEST, 200), st.floats(0.5, 1))
def test_a_threshold_is_more_than_half_and_never_above_all(sites: int, share: float) -> None:
    threshold = threshold_of(sites, share)
    assert 2 * threshold > sites
    assert FEWEST <= threshold <= sites
    assert threshold >= share * sites - 1e-6
