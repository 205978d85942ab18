"""What a site keeps of its secure sums on its disk, and for how long."""

import stat
from dataclasses import replace

import pytest

from fedretune.errors import UserError
from fedretune.privacy.secure.about import About
from fedretune.privacy.secure.kept import Kept
from fedretune.privacy.secure.site import Session, admitted, begun, shared

ABOUT = About("run", "train", "adapted", 0, 1)
SITES = ("site-0", "site-1", "site-2", "site-3")


def masked_session(about: str = ABOUT.text) -> Session:
    """Return the session of a site that has sent its vector, in a sum of four."""
    sessions, keys = zip(*(begun(site, about) for site in SITES), strict=True)
    peers = dict(zip(SITES, keys, strict=True))
    both = [shared(session, peers, 0.66) for session in sessions]
    mine = {after.site: boxes["site-0"] for after, boxes in both[1:]}
    return admitted(both[0][0], mine)


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path / "secure")


def test_nobody_but_the_owner_reads_the_secrets(kept):
    kept.begin(masked_session())
    file = kept.folder / "session.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_session_outlives_its_process_and_is_its_own_sums_alone(kept):
    session = masked_session()
    kept.begin(session)
    assert kept.session(ABOUT.text) == session
    for other in (ABOUT._replace(round=2), ABOUT._replace(run="other"), ABOUT._replace(kind="x")):
        with pytest.raises(UserError, match="another sum"):
            kept.session(other.text)


def test_the_secrets_are_gone_before_the_shares_are_told(kept):
    session = masked_session()
    kept.begin(session)
    assert set(kept.tell(session, SITES)) == set(SITES)
    assert sorted(path.name for path in kept.folder.iterdir()) == [".lock", "unmasked.json"]
    for secret in (session.mask_seed, session.self_seed, session.seal_seed):
        assert secret.hex() not in (kept.folder / "unmasked.json").read_text()
    with pytest.raises(UserError, match="not begun, or is over"):
        kept.session(ABOUT.text)


def test_a_sum_of_one_place_is_unmasked_again_for_the_same_sites_and_no_others(kept):
    first, again, other = (masked_session() for _ in range(3))
    kept.begin(first)
    kept.tell(first, SITES[:3])
    kept.begin(again)
    with pytest.raises(UserError, match="of other sites than the first"):
        kept.tell(again, SITES)
    assert kept.tell(again, SITES[2::-1])
    kept.begin(other)
    elsewhere = masked_session(ABOUT._replace(round=2).text)
    kept.begin(elsewhere)
    kept.tell(elsewhere, SITES)
    assert list(kept.unmasked().values()) == [list(SITES[:3]), list(SITES)]


def test_of_two_messages_at_once_that_would_take_one_step_the_second_is_refused(kept):
    """Each has read the session before the other has taken it further."""
    session, keys = begun("site-0", ABOUT.text)
    others = {site: begun(site, ABOUT.text)[1] for site in SITES[1:]}
    kept.begin(session)
    both = [shared(kept.session(ABOUT.text), {"site-0": keys, **others}, 0.66) for _ in range(2)]
    kept.advance(both[0][0])
    with pytest.raises(UserError, match="one step of a sum twice"):
        kept.advance(both[1][0])
    first = masked_session()
    kept.begin(first)
    with pytest.raises(UserError, match="one step of a sum twice"):
        kept.advance(first)  # its vector is masked already
    kept.tell(first, SITES[:3])
    with pytest.raises(UserError, match="not begun, or is over"):
        kept.tell(first, SITES)


def test_a_message_of_a_sum_that_has_been_begun_anew_is_refused(kept):
    old, new = begun("site-0", ABOUT.text)[0], masked_session()
    kept.begin(new)
    with pytest.raises(UserError, match="one step of a sum twice"):
        kept.advance(replace(old, phase="shared"))


def test_a_sum_that_is_refused_leaves_the_session_and_no_line(kept):
    session = masked_session()
    kept.begin(session)
    with pytest.raises(UserError, match="it needs 3"):
        kept.tell(session, SITES[:2])
    assert kept.session(ABOUT.text) == session
    assert kept.unmasked() == {}


def test_the_name_of_a_sum_is_no_other_sums():
    abouts = [
        About("a", "train", "adapted", 1, 11),
        About("a", "train", "adapted", 11, 1),
        About('a", "train', "train", "adapted", 1, 11),
        About("a/train", "train", "adapted", 1, 11),
    ]
    assert len({about.text for about in abouts}) == len(abouts)
