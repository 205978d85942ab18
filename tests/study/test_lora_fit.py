"""Tuning on one task in one place: what is learnt, chosen, spared and gone on with."""

import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedretune.adaptors import build
from fedretune.data.manifest import load_manifest, write_manifest
from fedretune.study.lora import fit as fitting
from fedretune.study.lora.augment import augmentation
from fedretune.study.lora.depth import DropBranch, stochastic_depth
from fedretune.study.lora.fit import Task, batches_of, fit, masked_loss
from fedretune.study.lora.images import Fresh, Kept, stored, worth_storing
from fedretune.study.lora.optimizer import FullDecay, layer_scale, optimizer_of
from fedretune.study.lora.recipes import recipe_of
from fedretune.tuning import held, tuned_spec, use
from tests.tuning.vits import write_mrm

SIZE = 48
CPU = torch.device("cpu")
#: A recipe of few steps: what a small random ViT needs.
SMALL = replace(
    recipe_of("mrm", "nih14", 1, "lora"),
    lr=0.3,
    epochs=6,
    warm_up=1,
    batch_size=12,
    augmentation="none",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Give a small ViT's name, and a manifest of 60 images of which a bright corner is a Mass."""
    folder = tmp_path_factory.mktemp("fit")
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"image": [f"{n}.png" for n in range(60)]})
    table["patient"] = [f"p{n}" for n in range(60)]
    table["split"] = ["train"] * 36 + ["val"] * 12 + ["test"] * 12
    table["Mass"] = np.arange(60) % 2
    table["Hernia"] = np.where(np.arange(60) < 48, np.arange(60) % 3 == 0, 0).astype(int)
    for name, mass in zip(table["image"], table["Mass"], strict=True):
        pixels = rng.integers(60, 120, (SIZE, SIZE), dtype=np.uint8)
        pixels[: SIZE // 2, : SIZE // 2] += np.uint8(90 * mass)
        Image.fromarray(pixels).save(folder / name)
    write_manifest(table, folder / "manifest.csv")
    backbone = f"vit-mrm:{write_mrm(folder / 'MRM.pth', depth=2)}"
    return SimpleNamespace(
        manifest=load_manifest(folder / "manifest.csv"),
        backbone=backbone,
        layout=use(backbone),
    )


def task_in(world, spec) -> Task:
    split = world.manifest.table["split"].to_numpy()
    parts = [np.flatnonzero(split == name) for name in ("train", "val", "test")]
    rows = stored(world.manifest, world.backbone, spec, np.arange(60))
    return Task(world.manifest.labels(), *parts, rows, rows)


def tuned(world, kind: str = "lora"):
    spec = tuned_spec(world.layout, kind, findings=2, rank=2)
    return build(spec, seed=3), task_in(world, spec)


@pytest.mark.parametrize("kind", ["lora", "bitfit", "full", "head"])
def test_each_way_of_tuning_learns_a_finding_that_is_easy_to_see(world, kind) -> None:
    model, task = tuned(world, kind)
    fitted = fit(model, task, SMALL, seed=1)
    assert fitted.auroc[0] > 0.95
    assert fitted.losses[-1] < fitted.losses[0]
    assert 1 <= fitted.epoch <= SMALL.epochs


def test_a_finding_without_positives_among_the_test_images_has_no_auroc(world) -> None:
    model, task = tuned(world, "head")
    assert np.isnan(fit(model, task, replace(SMALL, epochs=1), seed=1).auroc[1])


def test_the_same_seed_gives_the_same_bytes_stopped_and_gone_on_with_or_not(
    world, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(fitting, "SAVED_EVERY", 0.0)
    recipe = replace(SMALL, epochs=4)
    model, task = tuned(world)
    whole = fit(model, task, recipe, seed=1)
    state = tmp_path / "state.pt"

    def stop(epoch: int, _: float, __: float) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    half, _ = tuned(world)
    with pytest.raises(KeyboardInterrupt):
        fit(half, task, recipe, 1, state, stop)
    told = []
    again, _ = tuned(world)
    gone_on = fit(again, task, recipe, 1, state, lambda *each: told.append(each[0]))
    assert told == [3, 4]
    assert gone_on == whole or np.isnan(whole.auroc[1])
    assert (gone_on.losses, gone_on.auroc[0]) == (whole.losses, whole.auroc[0])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_best_epoch_is_the_first_of_the_highest_and_undefined_ones_count_for_nothing(
    world,
) -> None:
    model, _ = tuned(world, "head")
    nan = float("nan")
    for aurocs, best in (([0.5, 0.7, 0.7, 0.6], 2), ([nan, nan], 2), ([nan, 0.4, nan], 2)):
        run = fitting._Run(model, SMALL)
        for epoch, auroc in enumerate(aurocs, 1):
            with torch.no_grad():
                model.get_parameter("head.bias").fill_(epoch)
            run.finish(0.0, auroc)
        run.restore_best()
        assert run.best == best
        assert model.get_parameter("head.bias")[0].item() == best


def test_fresh_rows_of_images_as_they_are_are_the_stored_ones(world) -> None:
    from fedretune.backbones.source import find_source

    for kind in ("lora", "head"):
        spec = tuned_spec(world.layout, kind, findings=2, blocks=1)
        prepare = find_source(world.backbone, allow_hub=False).load().transform
        seen = (held(world.layout.backbone), spec.blocks, CPU, 1)
        batches = [np.array([5, 2]), np.array([7])]
        fresh = Fresh(world.manifest, prepare, *seen).batches(batches, 0)
        kept = stored(world.manifest, world.backbone, spec, np.arange(60)).batches(batches, 0)
        for one, other in zip(fresh, kept, strict=True):
            torch.testing.assert_close(one, other, atol=4e-3, rtol=4e-3)  # float16 is stored


def test_images_that_are_kept_are_prepared_once_and_give_the_same_rows_again(world) -> None:
    from fedretune.backbones.source import find_source

    prepared = []
    transform = find_source(world.backbone, allow_hub=False).load().transform

    def prepare(image):
        prepared.append(image)
        return transform(image)

    fresh = Fresh(world.manifest, prepare, held(world.layout.backbone), 2, CPU, 1)
    batches = [np.array([5, 2]), np.array([7, 8])]
    for most, expected in ((10**9, 4), (2 * 2 * 224 * 224, 4 + 2), (0, 4 + 4)):
        prepared.clear()
        kept = Kept(fresh, most)
        first, again = (list(kept.batches(batches, 0)) for _ in range(2))
        assert len(prepared) == expected
        for one, other, plain in zip(first, again, fresh.batches(batches, 0), strict=True):
            assert torch.equal(one, other)
            torch.testing.assert_close(one, plain, atol=1e-2, rtol=1e-2)  # float16 is kept


def test_an_image_is_augmented_by_the_seed_the_epoch_and_its_row_alone(world) -> None:
    prepare = augmentation("crop-flip", 224, 0.4978, 0.2449)
    trunk = held(world.layout.backbone)
    first, again, other = (
        Fresh(world.manifest, prepare, trunk, 2, CPU, seed) for seed in (1, 1, 2)
    )
    (one,) = first.batches([np.array([3, 4])], 0)
    (same,) = again.batches([np.array([4, 9, 3])], 0)
    assert torch.equal(one, same[[2, 0]])
    (later,) = first.batches([np.array([3, 4])], 1)
    (seeded,) = other.batches([np.array([3, 4])], 0)
    assert not torch.equal(one, later)
    assert not torch.equal(one, seeded)


@pytest.mark.parametrize("name", ["crop-flip", "rand-augment"])
def test_images_are_the_same_whichever_process_prepares_them(world, name) -> None:
    prepare = pickle.loads(pickle.dumps(augmentation(name, 64, 0.4978, 0.2449)))
    trunk, batches = held(world.layout.backbone), [np.array([3, 4]), np.array([9])]
    here, apart = (
        list(Fresh(world.manifest, prepare, trunk, 2, CPU, 1, loaders).images(batches, 2))
        for loaders in (0, 2)
    )
    assert all(torch.equal(one, other) for one, other in zip(here, apart, strict=True))


def test_tokens_are_kept_where_a_block_is_frozen_or_they_are_few(world) -> None:
    def spec(blocks: int, width: int = 768, tokens: int = 197):
        layout = SimpleNamespace(depth=12)
        return SimpleNamespace(blocks=blocks, row=width * tokens, layout=layout)

    assert worth_storing(spec(4), 224)
    assert not worth_storing(spec(12), 224)
    assert worth_storing(spec(12, width=64, tokens=50), 224)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 5))
def test_batches_are_full_and_an_image_is_in_one_at_most(count, size, epoch) -> None:
    rows = np.arange(100, 100 + count)
    batches = batches_of(rows, size, 1, epoch)
    seen = np.concatenate(batches)
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(rows)
    if count < size:
        assert [len(batch) for batch in batches] == [count]
    else:
        assert [len(batch) for batch in batches] == [size] * (count // size)


def test_the_loss_is_torch_s_own_over_what_is_labelled() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1.0, 0.0, float("nan")]]).repeat(5, 1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, :2], labels[:, :2])
    torch.testing.assert_close(masked_loss(logits, labels), expected)
    assert masked_loss(logits, torch.full((5, 3), float("nan"))) == 0


def test_the_rate_falls_from_block_to_block_as_in_mae_s_code() -> None:
    assert layer_scale("head.weight", 0.65, 12) == 1
    assert layer_scale("top.fc_norm.weight", 0.65, 12) == 1
    # There: decay ** (num_layers - layer), of 13 layers, with block 11 the twelfth.
    assert layer_scale("blocks.11.q.A", 0.65, 12) == 0.65 ** (13 - 12)
    assert layer_scale("blocks.0.attn.qkv.bias", 0.65, 12) == 0.65 ** (13 - 1)


def test_sgd_has_one_rate_and_adamw_s_decay_spares_vectors(world) -> None:
    model, _ = tuned(world)
    sgd = optimizer_of(model, recipe_of("mrm", "nih14", 1, "lora"), 2)
    assert [(group["scale"], group["momentum"]) for group in sgd.param_groups] == [(1.0, 0.9)]
    adamw = optimizer_of(model, recipe_of("cxr-mae", "nih14", 1, "lora"), 2)
    for group in adamw.param_groups:
        assert {each.ndim == 1 for each in group["params"]} == {group["weight_decay"] == 0}
    assert {group["scale"] for group in adamw.param_groups} == {1.0, 0.65, 0.65**2}


def test_decay_of_differences_is_adamw_s_decay_of_the_whole_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    block = torch.nn.Linear(4, 3)
    trunk = SimpleNamespace(blocks=(block,), top=torch.nn.Identity())
    model = torch.nn.Module()
    model.add_module("blocks", torch.nn.Module())
    model.blocks.add_module("0", torch.nn.Module())
    difference = torch.nn.Parameter(torch.zeros(3, 4))
    model.blocks.get_submodule("0").register_parameter("weight", difference)
    recipe = replace(recipe_of("cxr-mae", "nih14", 1, "full"), weight_decay=0.2, lr=0.05)
    optimizer = optimizer_of(model, recipe, 1)
    decay = FullDecay(model, trunk, optimizer)
    whole = torch.nn.Parameter(block.weight.detach().clone())
    rate = 0.05
    reference = torch.optim.AdamW([whole], lr=rate, weight_decay=0.2)
    for group in optimizer.param_groups:
        group["lr"] = rate
    for _ in range(5):
        gradient = torch.randn(3, 4, generator=generator)
        difference.grad, whole.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        decay.step()
        reference.step()
    torch.testing.assert_close(block.weight + difference, whole)


@given(st.floats(0.01, 0.9), st.integers(0, 100))
def test_a_branch_is_dropped_for_whole_images_and_enlarged_for_the_others(share, seed) -> None:
    drop = DropBranch(share, torch.Generator().manual_seed(seed))
    found = drop(torch.ones(400, 2, 3))[:, 0, 0]
    assert {round(each, 4) for each in found.tolist()} <= {0.0, round(1 / (1 - share), 4)}
    assert abs(float((found == 0).float().mean()) - share) < 0.15
    again = DropBranch(share, torch.Generator().manual_seed(seed))(torch.ones(400, 2, 3))
    assert torch.equal(again[:, 0, 0], found)


def test_depth_is_stochastic_in_training_alone_from_none_at_the_first_block(world) -> None:
    trunk = held(world.layout.backbone)
    before = [block.drop_path1 for block in trunk.blocks]
    model, task = tuned(world)
    (rows,) = task.plain.batches([np.arange(8)], 0)
    plain = model.logits(rows)
    with stochastic_depth(trunk, range(2), 0.5, seed=1):
        assert trunk.blocks[0].drop_path1 is before[0]
        assert trunk.blocks[1].drop_path2.share == 0.5
        one = model.logits(rows)
    with stochastic_depth(trunk, range(2), 0.5, seed=1):
        same = model.logits(rows)
    with stochastic_depth(trunk, range(1), 0.5, seed=1):  # what is not tuned is not dropped
        lower = model.logits(rows)
    assert [block.drop_path1 for block in trunk.blocks] == before
    assert torch.equal(one, same)
    assert not torch.equal(one, plain)
    assert torch.equal(lower, plain)
    assert torch.equal(model.logits(rows), plain)


def test_full_tuning_with_decay_runs(world, tmp_path: Path) -> None:
    model, task = tuned(world, "full")
    recipe = replace(SMALL, optimizer="adamw", lr=3e-3, weight_decay=0.05, layer_decay=0.65)
    fitted = fit(model, task, recipe, seed=1, state=tmp_path / "state.pt")
    assert fitted.auroc[0] > 0.95
