"""``fedretune privacy attack`` on finished runs."""

import json

import clients.world
from fedretune.cli.privacy_updates import MOST
from tests.worlds import make_world


def test_each_attack_tells_of_all_of_sites_and_of_experiences(
    synthetic_run, fedretune, monkeypatch
):
    folder, _ = synthetic_run(train__epochs=1)
    monkeypatch.setattr(clients.world, "make_world", make_world)
    world = make_world(*_config(folder))
    told = json.loads(fedretune("privacy", "attack", folder, "--json").out)
    first, control, *others = told["groups"]
    assert (control["site"], control["members"]) == ("untrained", first["members"])
    assert {(each["site"], each["experience"]) for each in others} >= {
        ("site-1", "all"),
        ("all", "1"),
        ("all", "2"),
    }
    splits = world.manifest.table["split"].value_counts()
    assert (first["members"], first["others"]) == (splits["train"], splits["test"])
    assert not first["enough"]
    shown = fedretune("privacy", "attack", folder, "--attack", "rmia", "--shadows", "4")
    assert shown.code == 0
    assert "experience 2" in shown.err
    assert "n too small" in shown.err
    few = fedretune("privacy", "attack", folder, "--candidates", "9", "--json")
    everybody = json.loads(few.out)["groups"][0]
    assert (everybody["members"], everybody["others"]) == (9, 9)


def test_what_cannot_be_attacked_is_refused(synthetic_run, fedretune, refused, tmp_path):
    assert "not a run folder" in refused("privacy", "attack", tmp_path / "nowhere")
    assert "lira, loss, prevalence, rmia" in refused(
        "privacy", "attack", tmp_path, "--attack", "luck"
    )
    zero_shot, _ = synthetic_run("zero-shot", method="zero-shot")
    assert "no adaptors.safetensors" in refused("privacy", "attack", zero_shot)


def test_updates_are_attacked_where_the_run_recorded_them(
    synthetic_run, fedretune, refused, monkeypatch
):
    monkeypatch.setattr(clients.world, "make_world", make_world)
    folder, _ = synthetic_run(record_wire=True, train__epochs=1)
    told = json.loads(fedretune("privacy", "attack", folder, "--attack", "inversion", "--json").out)
    assert told["updates"] == len(told["each"]) == 2 * 2 * 3  # experiences, rounds, sites
    assert all(0 <= each["cosine"] <= 1 for each in told["each"])
    aligned = fedretune("privacy", "attack", folder, "--attack", "alignment", "--json")
    groups = json.loads(aligned.out)["groups"]
    assert len(groups) == 2 + 2 * 3
    everybody, control, *each_update = groups
    assert everybody["members"] == sum(each["members"] for each in each_update)
    assert (control["site"], control["members"]) == ("another site", everybody["members"])
    spanned = json.loads(fedretune("privacy", "attack", folder, "--attack", "span", "--json").out)
    assert [each["members"] for each in spanned["groups"]] == [each["members"] for each in groups]
    plain, _ = synthetic_run("plain")
    for attack in ("inversion", "alignment"):
        assert "record-wire=true" in refused("privacy", "attack", plain, "--attack", attack)
    packed, _ = synthetic_run("packed", record_wire=True, compression="int8")
    assert "compression = none" in refused("privacy", "attack", packed, "--attack", "inversion")
    down, _ = synthetic_run("down", record_wire=True, compression_down="int8")
    assert "compression-down = none" in refused("privacy", "attack", down, "--attack", "span")


def _config(folder):
    import tomllib

    from scenarios import RunConfig

    tables = tomllib.loads((folder / "config.toml").read_text())
    config = RunConfig.from_flat(tables["config"])
    return config, config.sites


def test_behind_a_secure_sum_only_the_sum_is_attacked(synthetic_run, fedretune, monkeypatch):
    monkeypatch.setattr(clients.world, "make_world", make_world)
    folder, _ = synthetic_run(
        record_wire=True, train__epochs=1, secure_aggregation=True, norm_bound=0.0
    )
    told = json.loads(fedretune("privacy", "attack", folder, "--attack", "alignment", "--json").out)
    world = make_world(*_config(folder))
    taught = sum(len(world.scenario.lesson(site, 0).rows) for site in world.scenario.sites)
    first = next(each for each in told["groups"] if each["experience"] == "1")
    assert (first["site"], first["members"]) == ("sum of all", min(taught, MOST))


def test_canaries_are_trained_as_the_run_was(synthetic_run, fedretune, monkeypatch):
    monkeypatch.setattr(clients.world, "make_world", make_world)
    private = {"privacy__mechanism": "example", "privacy__noise": 2.0, "privacy__delta": 0.001}
    folder, _ = synthetic_run(**private)
    given = ("privacy", "attack", folder, "--attack", "canary", "--canaries", "40")
    told = json.loads(fedretune(*given, "--json").out)
    assert told["bound"] <= told["epsilon"]
    plain, _ = synthetic_run("plain", train__epochs=1)
    assert "inf" in fedretune("privacy", "attack", plain, *given[3:]).err
