"""Runs whose sites tune inside their backbone, and what is refused before anything is trained."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import clients.app
import server.app
from clients.site import Site
from clients.world import make_world
from fedretune.adaptors import build, load, to_arrays
from fedretune.backbones import load_backbone
from fedretune.data.manifest import load_manifest
from fedretune.embeddings import embed_images
from fedretune.errors import UserError
from fedretune.objectives.difference import scores
from fedretune.privacy.attacks.inversion import invert
from fedretune.sites.policy import Policy, Proposal
from fedretune.tuning import held, tuned_spec, use
from scenarios import RunConfig
from server.simulator import simulate
from tests.tuning.tokens import tiny_trunk

LORA = {"adaptor.kind": "lora", "adaptor.blocks": 1}
LINEAR = {**LORA, "adaptor.head": "linear"}
QUICK = {"experiences": 2, "rounds": 1, "sites": 2, "train.epochs": 1, "train.lr": 0.01}


def run(tiny, out: Path, backbone: str, **values: object) -> tuple[Path, dict[str, object]]:
    keys = {"manifest": str(tiny.manifest), "backbone": backbone, "out": str(out), "name": "it"}
    flat = {key.replace("__", ".").replace("_", "-"): each for key, each in values.items()}
    simulate(server.app.app, clients.app.app, {**QUICK, **keys, **flat}, flat.get("sites", 2))
    folder = out / "it"
    return folder, json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize(
    ("backbone", "keys"),
    [
        ("mrm", {**LORA, "adaptor.head": "linear"}),
        ("open_clip", {**LORA, "adaptor.targets": "q, v, fc1"}),
        ("mrm", {"adaptor.kind": "bitfit", "adaptor.blocks": 1, "adaptor.head": "linear"}),
        ("open_clip", {"adaptor.kind": "full", "allow-backbone-on-wire": True}),
        ("mrm", {"adaptor.kind": "head", "adaptor.head": "linear"}),
    ],
)
def test_a_federation_sends_the_specs_tensors_and_nothing_of_the_backbone(
    backbones, tiny, tmp_path, backbone, keys
) -> None:
    folder, summary = run(tiny, tmp_path, backbones[backbone], **keys)
    spec, arrays, _ = load(folder / "adaptors.safetensors")
    assert summary["status"] == "complete"
    assert list(arrays) == list(spec.tensors())
    assert spec.kind == keys["adaptor.kind"]
    size = sum(each.nbytes for each in arrays.values())
    assert size <= summary["bytes_up_per_site_round"] <= size + 3000
    table = pd.read_csv(folder / "auroc.csv")
    assert table["auroc"].notna().any()
    start = to_arrays(build(spec, seed=0))
    assert any(not np.array_equal(arrays[name], start[name]) for name in arrays)


def test_tokens_are_encoded_once_for_a_cut_and_are_those_below_it(
    backbones, tiny, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("FEDRETUNE_CACHE", str(tmp_path))
    name, manifest = backbones["mrm"], load_manifest(tiny.manifest)
    layout = use(name)
    one, two = (tuned_spec(layout, "lora", findings=1, blocks=n) for n in (1, 2))
    rows = range(5)
    found = [embed_images(manifest, name, rows=rows, cut=cut) for cut in (one, one, two, None)]
    assert [each.encoded for each in found] == [5, 0, 5, 5]
    backbone = load_backbone(name, "cpu")
    from fedretune.data.images import decode_image, read_image

    paths = [manifest.images[row] for row in rows]
    pixels = [backbone.preprocess(decode_image(read_image(path), path)) for path in paths]
    tokens = held(layout.backbone).tokens(torch.stack(pixels), 1).flatten(1)
    np.testing.assert_array_equal(found[0].take(rows, np.float16), tokens.half().numpy())
    vectors = build(one, 0).vectors(torch.from_numpy(found[0].take(rows)))
    np.testing.assert_allclose(vectors.detach(), found[3].take(rows), atol=0.02)


def test_zero_shot_is_what_the_stored_vectors_give(backbones, tiny) -> None:
    flat = {"manifest": str(tiny.manifest), "backbone": backbones["open_clip"], **QUICK}
    world = make_world(RunConfig.from_flat({**flat, **LORA}), 2)
    plain = make_world(RunConfig.from_flat(flat), 2)
    site = Site(world.scenario.sites[0], world)
    tuned, frozen = (Site(site.name, each)._scores(None) for each in (world, plain))
    for rule in frozen:
        np.testing.assert_allclose(tuned[rule], frozen[rule], atol=0.01)
    untrained = site._scores(to_arrays(build(world.adaptor, 1)))
    np.testing.assert_array_equal(untrained["difference"], tuned["difference"])
    assert scores(build(world.adaptor, 1), world.images([0]), world.prompts)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"adaptor.kind": "full"}, "set allow-backbone-on-wire = true if that is meant"),
        ({**LORA, "adaptor.wiring": "image"}, "adaptor.wiring = image is of no use"),
        ({"adaptor.rank": 8}, "adaptor.rank = 8 is of no use with adaptor.kind = mlp"),
        ({**LORA, "adaptor.targets": "q, w"}, "Unknown adaptor target 'w'"),
        ({**LORA, "method": "anchor"}, "works on prompts"),
        ({**LORA, "method": "offsets"}, "is of no use|works on prompts"),
        ({**LORA, "strategy": "regmean"}, "strategy = regmean solves for linear layers"),
        ({**LORA, "strategy": "fedadam"}, "adaptor.averaging = exact averages products"),
        ({**LORA, "batched": "always"}, "batched = always"),
        ({"adaptor.kind": "bitfit", "adaptor.rank": 2}, "adaptor.rank = 2 is of no use"),
        ({"adaptor.kind": "head"}, "set adaptor.head = linear"),
    ],
)
def test_settings_that_do_not_go_together_are_an_error(keys, message) -> None:
    with pytest.raises(UserError, match=message):
        RunConfig.from_flat(keys)


def test_a_backbone_that_is_no_transformer_says_which_would_do() -> None:
    with pytest.raises(UserError, match=r"phantom-clip.*ModifiedResNet.*vit-mrm:FILE.*local-dir"):
        use("phantom-clip")


def test_gradients_of_tokens_are_not_inverted_and_the_attack_says_so() -> None:
    spec = tuned_spec(tiny_trunk(8).layout, "lora", findings=3)
    with pytest.raises(UserError, match="works on an image's tokens"):
        invert(spec, {}, {})


def test_a_site_lets_the_backbone_travel_only_where_its_policy_says_so() -> None:
    asked = Proposal(["retune"], "full", [], 1, False, False, "", backbone=True)
    keys = {"methods": ["retune"], "adaptors": ["full"]}
    with pytest.raises(UserError, match="no backbone to travel"):
        Policy.model_validate(keys).check_run(asked)
    Policy.model_validate({**keys, "backbone-may-travel": True}).check_run(asked)


@pytest.mark.parametrize("method", ["ewc", "lwf", "replay", "local", "joint"])
def test_remedies_and_arrangements_work_on_tokens_too(backbones, tiny, tmp_path, method) -> None:
    keys = {**LORA, "method": method, "remedy.replay": 10}
    _, summary = run(tiny, tmp_path, backbones["open_clip"], **keys)
    assert summary["status"] == "complete"


def test_lora_is_trained_under_differential_privacy_too(backbones, tiny, tmp_path) -> None:
    keys = {"privacy.mechanism": "example", "privacy.noise": 1.0, "privacy.delta": 1e-5}
    _, summary = run(tiny, tmp_path, backbones["open_clip"], **LORA, **keys)
    assert summary["status"] == "complete"


@pytest.mark.parametrize(
    "keys",
    [
        {"adaptor.averaging": "freeze-A"},
        {"adaptor.averaging": "average-factors", "strategy": "fedadam"},
        {"adaptor.kept-rank": 4},
        {"adaptor.ranks": "2, 4"},
        {"method": "lora-sum"},
        {"method": "o-lora"},
    ],
)
def test_lora_is_averaged_and_carried_along_in_every_way(backbones, tiny, tmp_path, keys) -> None:
    folder, summary = run(tiny, tmp_path, backbones["mrm"], **{**LINEAR, **keys})
    assert summary["status"] == "complete"
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    shares = [each["share"] for each in events if each["event"] == "residual"]
    exact = keys.get("adaptor.averaging", "exact") == "exact"
    assert bool(shares) == exact
    assert all(0 <= share < 1 for share in shares)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"adaptor.ranks": "2, 4", "adaptor.averaging": "average-factors"}, "ranks of their own"),
        ({"adaptor.ranks": "2, 8"}, "adaptor.ranks is '2, 8'; give whole numbers from 1 to"),
        ({"adaptor.kept-rank": 2, "adaptor.averaging": "freeze-A"}, "adaptor.kept-rank keeps"),
        ({"adaptor.kept-rank": 2, "method": "lora-sum"}, "adaptor.kept-rank keeps"),
        ({"method": "o-lora", "adaptor.averaging": "freeze-A"}, "o-lora trains A"),
        ({"method": "o-lora", "adaptor.kind": "bitfit"}, "about LoRA|of no use"),
        ({"stream-mean": True}, "stream-mean averages A and B apart"),
        ({"secure-aggregation": True, "sites": 4}, "exact needs each site's factors"),
    ],
)
def test_averaging_that_cannot_be_is_an_error(keys, message) -> None:
    with pytest.raises(UserError, match=message):
        RunConfig.from_flat({**LORA, **keys})


def test_lora_whose_a_is_held_is_summed_securely_to_what_is_averaged_plainly(
    backbones, tiny, tmp_path
) -> None:
    given = {**LINEAR, "adaptor.averaging": "freeze-A", "partition": "iid"}
    given |= {"sites": 3, "experiences": 1}
    ended = []
    for secure in (False, True):
        values = {**given, "secure-aggregation": secure}
        folder, _ = run(tiny, tmp_path / str(secure), backbones["mrm"], **values)
        ended.append(load(folder / "adaptors.safetensors")[1])
    plain, summed = ended
    for name, array in plain.items():
        atol = 2.0**-25 + float(np.spacing(np.abs(array).max()))
        np.testing.assert_allclose(summed[name], array, rtol=0, atol=atol)


def test_stages_learn_one_after_another(backbones, tiny, tmp_path) -> None:
    folder, _ = run(tiny, tmp_path, backbones["mrm"], **{**LINEAR, "method": "lora-sum"})
    spec, arrays, _ = load(folder / "adaptors.safetensors")
    b = arrays["blocks.2.q.B"]
    assert (spec.stages, b.shape[1]) == (2, 2 * spec.rank)
    assert b[:, : spec.rank].any()
    assert b[:, spec.rank :].any()
