"""What is tuned against the backbone itself: untouched it is that, and merged it is itself."""

import copy

import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fedretune.adaptors import TunedSpec, build
from fedretune.backbones import load_backbone
from fedretune.tuning import held, tuned_spec, use
from fedretune.tuning.frozen import part
from fedretune.tuning.module import CHUNK, Tuned

EVERY = ("q", "k", "v", "proj", "fc1", "fc2")
every_backbone = pytest.mark.parametrize("name", ["mrm", "open_clip", "timm"])
every_kind = pytest.mark.parametrize("kind", ["lora", "bitfit", "full"])


def batch(backbone, count: int = 4) -> Tensor:
    size = backbone.preprocess(Image.new("L", (40, 40))).shape
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(0))


def rows_of(spec: TunedSpec, images: Tensor) -> Tensor:
    return held(spec.layout.backbone).tokens(images, spec.blocks).flatten(1)


def changed(spec: TunedSpec, seed: int = 1, size: float = 0.05) -> Tuned:
    """Return a model none of whose tensors is at its start."""
    model = build(spec, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in model.parameters():
            each.add_(size * torch.randn(each.shape, generator=generator))
    assert isinstance(model, Tuned)
    return model


@every_backbone
@every_kind
@pytest.mark.parametrize("blocks", [0, 1])
def test_untrained_it_is_the_backbone_bit_for_bit(backbones, name, kind, blocks) -> None:
    backbone, layout = load_backbone(backbones[name], "cpu"), use(backbones[name])
    spec = tuned_spec(layout, kind, blocks=blocks, head="prompts", targets=EVERY)
    images, model = batch(backbone), build(spec, 0)
    with torch.no_grad():
        vectors = model.vectors(rows_of(spec, images))
    assert torch.equal(vectors, backbone.encode_images(images))


@every_backbone
@every_kind
def test_merged_into_the_frozen_weights_it_is_what_it_is_beside_them(backbones, name, kind) -> None:
    layout = use(backbones[name])
    spec = tuned_spec(layout, kind, blocks=2, findings=3, targets=EVERY, rank=3)
    model, rows = changed(spec), rows_of(spec, batch(load_backbone(backbones[name], "cpu")))
    beside = model.logits(rows)
    with torch.no_grad():
        merged = model.logits(rows)
    assert beside.requires_grad
    torch.testing.assert_close(beside, merged, atol=1e-5, rtol=1e-5)
    assert (merged - build(spec, 0).logits(rows)).abs().max() > 1e-2


def tower_of(model: nn.Module) -> nn.Module:
    tower = model if hasattr(model, "trunk") else model.visual
    return tower.trunk if hasattr(tower, "trunk") else tower


@every_backbone
def test_lora_is_a_backbone_whose_q_and_v_have_the_product_added(backbones, name) -> None:
    backbone, layout = load_backbone(backbones[name], "cpu"), use(backbones[name])
    spec = tuned_spec(layout, "lora", head="prompts", rank=3, alpha=12.0)
    model, images = changed(spec), batch(backbone)
    reference = copy.deepcopy(backbone.model)
    tower, width = tower_of(reference), layout.width
    for i, block in enumerate(
        tower.blocks if hasattr(tower, "blocks") else tower.transformer.resblocks
    ):
        attention = block.attn
        fused = attention.qkv.weight if hasattr(attention, "qkv") else attention.in_proj_weight
        for first, target in ((0, "q"), (2 * width, "v")):
            a, b = model.factors(f"blocks.{i}.{target}")
            fused.data[first : first + width] += 12.0 / 3 * (b @ a).detach()
    with torch.no_grad():
        expected = reference.encode_image(images)
        torch.testing.assert_close(model.vectors(rows_of(spec, images)), expected)


@every_backbone
@every_kind
def test_frozen_weights_have_no_gradient_and_are_registered_nowhere(backbones, name, kind) -> None:
    layout = use(backbones[name])
    spec = tuned_spec(layout, kind, blocks=1, findings=3)
    model, trunk = build(spec, 0), held(layout.backbone)
    before = [each.clone() for block in trunk.blocks for each in block.parameters()]
    rows = rows_of(spec, batch(load_backbone(backbones[name], "cpu")))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        model.logits(rows).square().sum().backward()
        optimizer.step()
    after = [each for block in trunk.blocks for each in block.parameters()]
    assert all(map(torch.equal, before, after))
    assert all(each.grad is None for each in after)
    assert list(model.state_dict()) == list(spec.tensors())


@every_backbone
def test_a_cut_higher_up_changes_nothing_of_what_lies_above_it(backbones, name) -> None:
    backbone, layout = load_backbone(backbones[name], "cpu"), use(backbones[name])
    low, high = (tuned_spec(layout, "lora", blocks=n, head="prompts") for n in (0, 1))
    above, below = changed(high), build(low, 0)
    last = f"blocks.{layout.depth - 1}."
    with torch.no_grad():
        for name_, each in below.named_parameters():
            if name_.startswith(last):
                each.copy_(above.get_parameter(name_))
        images = batch(backbone)
        found = [model.vectors(rows_of(model.spec, images)) for model in (below, above)]
    assert torch.equal(*found)


def test_dropout_comes_from_the_seed_alone_and_is_off_where_nothing_is_trained(backbones) -> None:
    layout = use(backbones["mrm"])
    spec = tuned_spec(layout, "lora", findings=3, dropout=0.5)
    model, rows = changed(spec), torch.randn(3, spec.row)
    before, state = model.logits(rows), torch.random.get_rng_state()

    def dropped(seed: int) -> Tensor:
        with model.dropping(seed):
            return torch.stack([model.logits(rows), model.logits(rows)])

    once, again, other = dropped(1), dropped(1), dropped(2)
    assert torch.equal(once, again)
    assert not torch.allclose(once[0], once[1])
    assert not torch.allclose(once, other)
    assert torch.equal(before, model.logits(rows))
    assert torch.equal(state, torch.random.get_rng_state())


def test_activations_computed_twice_give_the_same_gradients(backbones) -> None:
    layout = use(backbones["open_clip"])
    spec = tuned_spec(layout, "lora", findings=3, dropout=0.3, targets=EVERY)
    rows = torch.randn(3, spec.row)

    def gradients(checkpointing: bool) -> list[Tensor]:
        model = changed(spec)
        model.checkpointing = checkpointing
        with model.dropping(4):
            model.logits(rows).square().sum().backward()
        return [each.grad for each in model.parameters()]

    assert all(map(torch.equal, gradients(False), gradients(True)))


def test_many_images_are_scored_in_chunks_of_the_same_bits(backbones) -> None:
    spec = tuned_spec(use(backbones["open_clip"]), "lora", findings=3)
    model, rows = changed(spec), torch.randn(2 * CHUNK + 1, spec.row)
    with torch.no_grad():
        whole = model.vectors(rows)
        parts = [model.vectors(each) for each in torch.split(rows, CHUNK)]
    assert torch.equal(whole, torch.cat(parts))


def vit_b_16() -> VisionTransformer:
    """Return the study's transformer, of which only the shapes are there."""
    with torch.device("meta"):
        return VisionTransformer(num_classes=0, global_pool="avg", fc_norm=True)


@pytest.mark.parametrize(
    ("rank", "count"), [(4, 159_758), (8, 307_214), (16, 602_126), (32, 1_191_950)]
)
def test_as_many_numbers_are_trained_as_in_the_study(rank: int, count: int) -> None:
    layout = part("MRM", "0" * 64, vit_b_16()).layout
    spec = tuned_spec(layout, "lora", findings=14, rank=rank)
    assert sum(each.numel() for each in build(spec, 0).parameters()) == count


def test_a_new_head_starts_as_in_the_study_and_b_at_zero() -> None:
    spec = tuned_spec(part("MRM", "0" * 64, vit_b_16()).layout, "lora", findings=14)
    model = build(spec, 0)
    head = model.get_parameter("head.weight")
    assert head.std().item() == pytest.approx(2e-5, rel=0.05)
    assert head.abs().max() < 1e-4
    a, b = model.factors("blocks.3.v")
    assert not b.any()
    assert a.abs().max() <= 768**-0.5  # kaiming-uniform with a = sqrt(5)
    assert a.std().item() == pytest.approx(768**-0.5 / 3**0.5, rel=0.05)
