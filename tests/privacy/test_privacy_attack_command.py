"""``fedretune privacy attack`` on finished runs."""

import json

import clients.world
from tests.worlds import make_world


def test_each_attack_tells_of_all_of_sites_and_of_experiences(
    synthetic_run, fedretune, monkeypatch
):
    folder, _ = synthetic_run(train__epochs=1)
    monkeypatch.setattr(clients.world, "make_world", make_world)
    world = make_world(*_config(folder))
    told = json.loads(fedretune("privacy", "attack", folder, "--json").out)
    first, *others = told["groups"]
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


def test_what_cannot_be_attacked_is_refused(synthetic_run, fedretune, refused, tmp_path):
    assert "not a run folder" in refused("privacy", "attack", tmp_path / "nowhere")
    assert "lira, loss, rmia" in refused("privacy", "attack", tmp_path, "--attack", "luck")
    zero_shot, _ = synthetic_run("zero-shot", method="zero-shot")
    assert "no adaptors.safetensors" in refused("privacy", "attack", zero_shot)


def _config(folder):
    import tomllib

    from scenarios import RunConfig

    tables = tomllib.loads((folder / "config.toml").read_text())
    config = RunConfig.from_flat(tables["config"])
    return config, config.sites
