"""The LoRA study's recipes, its schedule of rates, and what it does to training images."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from fedretune.backbones import vit
from fedretune.errors import UserError
from fedretune.study.lora.augment import augmentation, seeded
from fedretune.study.lora.datasets import DATA_SETS, RATIOS
from fedretune.study.lora.recipes import MODELS, TUNINGS, known, model_of, rates_in, recipe_of
from fedretune.study.lora.schedule import rate_at

TASKS = [(model, data, ratio) for model in MODELS for data in DATA_SETS for ratio in RATIOS]


def test_all_eighteen_tasks_have_the_study_s_recipe_of_lora() -> None:
    recipes = {task: recipe_of(*task, "lora") for task in TASKS}
    assert len(recipes) == 18
    assert {recipe.source for recipe in recipes.values()} == {"study"}
    found = {task: (each.lr, each.rank, each.epochs) for task, each in recipes.items()}
    assert found["mrm", "nih14", 1] == (0.05, 4, 100)
    assert found["mrm", "chexpert", 10] == (0.05, 16, 100)
    assert found["cxr-mae", "nih14", 10] == (1e-3 * 64 / 256, 8, 200)
    assert found["cxr-mae", "rsna", 100] == (pytest.approx(5e-3 / 4), 32, 100)
    assert {each.batch_size for each in recipes.values()} == {64}


def test_full_fine_tuning_is_known_of_two_tasks_alone() -> None:
    assert [task for task in TASKS if known(*task, "full")] == [
        ("mrm", "nih14", 1),
        ("cxr-mae", "nih14", 1),
    ]
    mrm, mae = (recipe_of(model, "nih14", 1, "full") for model in MODELS)
    assert (mrm.optimizer, mrm.lr, mrm.epochs, mrm.weight_decay) == ("sgd", 0.01, 200, 0.0)
    assert (mae.optimizer, mae.lr, mae.epochs, mae.weight_decay) == ("adamw", 1.25e-4, 400, 0.05)


def test_full_fine_tuning_that_is_not_known_wants_a_rate_and_is_called_ours() -> None:
    with pytest.raises(UserError, match=r"mrm on rsna at 10% is not known.*--fft-lr mrm=0\.01"):
        recipe_of("mrm", "rsna", 10, "full", {"cxr-mae": 1e-3})
    recipe = recipe_of("cxr-mae", "rsna", 10, "full", rates_in(["cxr-mae=1e-3", "mrm=0.02"]))
    assert (recipe.lr, recipe.epochs, recipe.source) == (2.5e-4, 400, "ours")
    assert recipe_of("mrm", "nih14", 1, "full", {"mrm": 9.0}).lr == 0.01


def test_a_probe_and_bitfit_go_by_lora_s_recipe_and_are_called_ours() -> None:
    lora = recipe_of("mrm", "nih14", 100, "lora")
    for tuning in ("linear-probe", "bitfit"):
        recipe = recipe_of("mrm", "nih14", 100, tuning)
        assert (recipe.lr, recipe.epochs, recipe.rank) == (lora.lr, lora.epochs, 0)
        assert recipe.source == "ours"
    assert set(TUNINGS) == {"lora", "full", "linear-probe", "bitfit"}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (("mae", "nih14", 1, "lora"), "Unknown model of the LoRA study 'mae'"),
        (("mrm", "nih", 1, "lora"), "Unknown data set of the LoRA study 'nih'"),
        (("mrm", "nih14", 5, "lora"), "The ratio is 5; the study has 1, 10 and 100"),
        (("mrm", "nih14", 1, "qlora"), "Unknown tuning 'qlora'"),
    ],
)
def test_a_task_that_the_study_has_not_is_refused(task, words) -> None:
    with pytest.raises(UserError) as caught:
        recipe_of(*task)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["mrm", "mrm=", "mrm=0", "mrm=fast", "vit=0.1"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--fft-lr|Unknown model"):
        rates_in([text])


@pytest.mark.parametrize(("name", "make"), [("mrm", vit.mrm), ("cxr-mae", vit.cxr_mae)])
def test_training_images_are_normalised_as_test_images_are(name, make, tmp_path) -> None:
    (tmp_path / "x.pth").touch()
    prepare, model = make(tmp_path / "x.pth").prepare, model_of(name)
    assert (prepare.mean, prepare.std) == (model.mean, model.std)


@given(
    st.integers(1, 400),
    st.integers(1, 10),
    st.floats(1e-5, 1.0),
    st.lists(st.floats(0, 1), min_size=2),
)
def test_the_rate_goes_up_in_a_line_then_down_and_is_never_below_the_least_after(
    epochs, warm_up, peak, places
) -> None:
    places = sorted(place * epochs for place in places)
    rates = [rate_at(place, peak, epochs, warm_up, 1e-6) for place in places]
    assert all(0 <= rate <= peak + 1e-12 for rate in rates)
    after = [rate for place, rate in zip(places, rates, strict=True) if place >= warm_up]
    assert after == sorted(after, reverse=True)
    assert all(rate >= 1e-6 - 1e-12 for rate in after)


def test_the_rate_is_torch_s_own_cosine_after_the_warm_up() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.05)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=95, eta_min=1e-6)
    for epoch in range(5, 100):
        assert rate_at(epoch, 0.05, 100, 5, 1e-6) == pytest.approx(
            cosine.get_last_lr()[0], abs=1e-9
        )
        optimizer.step()
        cosine.step()
    assert rate_at(2.5, 0.05, 100, 5, 1e-6) == 0.025


def picture(size: int = 90) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8))


@pytest.mark.parametrize("name", ["crop-flip", "rand-augment"])
def test_the_same_seed_augments_alike_and_another_does_not(name: str) -> None:
    apply = augmentation(name, 64, 0.4978, 0.2449)
    found = []
    for seed in (1, 1, 2):
        with seeded(seed):
            found.append(apply(picture()))
    assert found[0].shape == (3, 64, 64)
    assert found[0].dtype == torch.float32
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_seeding_leaves_the_global_generators_as_they_were() -> None:
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    with seeded(5):
        augmentation("rand-augment", 32, 0.5, 0.25)(picture())
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])


def test_crop_and_flip_are_the_study_s_transform() -> None:
    study = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                (64, 64), interpolation=transforms.InterpolationMode.BICUBIC
            ),
            transforms.RandomHorizontalFlip(),
            transforms.Grayscale(num_output_channels=3),
            transforms.ToTensor(),
            transforms.Normalize([0.4978], [0.2449]),
        ]
    )
    own = augmentation("crop-flip", 64, 0.4978, 0.2449)
    for seed in range(5):
        with seeded(seed):
            expected = study(picture().convert("RGB"))
        with seeded(seed):
            found = own(picture())
        step = 1.01 / 255 / 0.2449  # grey before resizing rounds otherwise than grey after it
        torch.testing.assert_close(found, expected, atol=step, rtol=0)


def test_a_policy_on_colours_still_leaves_three_equal_channels_but_where_it_erased() -> None:
    apply = augmentation("rand-augment", 64, 0.4785, 0.2834)
    equal = []
    for seed in range(12):
        with seeded(seed):
            tensor = apply(picture())
        equal.append(float((tensor[0] == tensor[1]).float().mean()))
    assert sum(share == 1.0 for share in equal) >= 6  # three in four are not erased
    assert min(equal) > 0.5
    assert math.isfinite(float(tensor.sum()))
