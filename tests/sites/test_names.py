"""Hospitals that sign who they are, at a server with a list of those that it has admitted."""

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

import clients.app
import server.admitted
from fedretune.errors import UserError
from fedretune.identity import add_key, read_public
from server.simulator import take_identity
from tests.sites.hospitals import statuses


@pytest.fixture
def admitted(hospitals, tmp_path):
    """The list of a server that has admitted both."""
    path = tmp_path / "admitted.toml"
    for name in hospitals.names:
        add_key(path, name, read_public(hospitals.folder(name) / "site.key.pub"))
    return path


def short(hospitals, out, admitted):
    return hospitals.run(out, admitted=str(admitted), experiences=1, method="zero-shot")


def rename(hospitals, own: str, name: str) -> None:
    """Have a hospital call itself by another name."""
    path = hospitals.folder(own) / "site.toml"
    path.write_text(path.read_text().replace(f'name = "{own}"', f'name = "{name}"'))


def test_hospitals_that_are_who_they_say_take_part(hospitals, out, admitted):
    folder, summary = short(hospitals, out, admitted)
    assert summary["sites"] == ["north", "south"]
    assert statuses(folder) == []


def test_a_hospital_that_calls_itself_another_is_put_aside(hospitals, out, admitted):
    rename(hospitals, "south", "north")
    folder, summary = short(hospitals, out, admitted)
    assert summary["sites"] == ["north"]
    ((site, status, why),) = statuses(folder)
    assert (site, status) == ("node 2", "aside")
    assert why == "it does not sign with the key that was admitted as 'north'"


def test_hospitals_that_swap_their_names_are_both_put_aside(hospitals, out, admitted):
    rename(hospitals, "south", "north")
    rename(hospitals, "north", "south")
    with pytest.raises(UserError, match="No site can take part"):
        short(hospitals, out, admitted)
    assert [status for _, status, _ in statuses(out / "real")] == ["aside", "aside"]


def test_a_hospital_that_is_on_no_list_is_put_aside(hospitals, out, admitted):
    rename(hospitals, "south", "east")
    folder, _ = short(hospitals, out, admitted)
    assert [why for *_, why in statuses(folder)] == [
        "'east' is on no line of the list of admitted sites"
    ]


def test_an_answer_of_before_is_not_good_again(hospitals, out, admitted, monkeypatch):
    """By one that has seen it: the number is another, and so must the signature be."""
    numbers = iter([b"a" * 16, b"b" * 16, b"a" * 16, b"c" * 16])
    monkeypatch.setattr(server.admitted.os, "urandom", lambda _: next(numbers))
    kept: dict[int, Message] = {}
    real = clients.app.app

    def replayed(message, context):
        if message.metadata.message_type != "query":
            return real(message, context)
        if context.node_id not in kept:
            kept[context.node_id] = real(message, context).content
        return Message(kept[context.node_id], reply_to=message)

    monkeypatch.setattr(clients.app, "app", replayed)
    short(hospitals, out, admitted)
    # North was asked for the same number again, and a run of the same name; south was not.
    folder, _ = short(hospitals, out / "again", admitted)
    assert statuses(folder) == [
        ("node 2", "aside", "it does not sign with the key that was admitted as 'south'")
    ]


def test_a_site_that_signs_nothing_is_put_aside_where_there_is_a_list(
    hospitals, out, admitted, monkeypatch
):
    monkeypatch.setattr("clients.identity.greeting", lambda site, message: site.greeting())
    with pytest.raises(UserError, match="No site can take part"):
        short(hospitals, out, admitted)
    assert {why for *_, why in statuses(out / "real")} == {
        "it does not sign that it is 'north'",
        "it does not sign that it is 'south'",
    }


def test_a_site_whose_key_cannot_be_read_says_so_and_names_no_file(hospitals, out, admitted):
    (hospitals.folder("south") / "site.key").write_text("no key")
    folder, _ = short(hospitals, out, admitted)
    ((_, status, why),) = statuses(folder)
    assert status == "refused"
    assert why == "its own key cannot be read: `fedretune site check` there says why"


def test_a_simulated_site_has_no_key_and_says_so(hospitals, out, admitted):
    with pytest.raises(UserError, match="No site can take part"):
        hospitals.pooled(out, admitted=str(admitted))
    assert {why for *_, why in statuses(out / "pooled")} == {
        "a simulated site has no key: leave admitted out"
    }


def test_a_site_signs_numbers_alone(hospitals):
    take_identity()
    content = RecordDict({"challenge": ConfigRecord({"number": "I owe the server a million"})})
    node = {"site": str(hospitals.folder("north") / "site.toml")}
    context = Context(1, 1, node, RecordDict(), {"out": str(hospitals.root), "experiences": 1})
    answer = clients.app.app(Message(content, 1, "query"), context).content
    assert dict(answer["refusal"]) == {"reason": "it signs numbers alone"}


def test_a_list_that_cannot_be_read_ends_the_run_with_the_reason(hospitals, out, tmp_path):
    with pytest.raises(UserError, match="Cannot read the list of keys"):
        short(hospitals, out, tmp_path / "none.toml")
