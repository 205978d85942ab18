"""Image towers alone, from checkpoints of the shapes that masked autoencoders leave."""

import argparse
import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision import transforms

from fedretune.backbones import describe, load_backbone
from fedretune.backbones.vit_model import new_trunk, read_checkpoint
from fedretune.errors import UserError


def mae_state(width: int = 64, depth: int = 2, grid: int = 14) -> dict[str, Tensor]:
    """Return the tensors of a masked autoencoder: encoder, its norm, decoder."""
    torch.manual_seed(1)
    encoder = timm.models.vision_transformer.VisionTransformer(
        img_size=16 * grid, embed_dim=width, depth=depth, num_heads=width // 64, num_classes=0
    )
    encoder.pos_embed.data.normal_()
    decoder = {"decoder_embed.weight": torch.ones(8, width), "mask_token": torch.ones(1, 1, 8)}
    return {
        **encoder.state_dict(),
        **decoder,
        "decoder_blocks.0.attn.qkv.weight": torch.ones(24, 8),
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vit") / "MRM.pth"
    args = argparse.Namespace(model="mae_vit_base_patch16", epochs=200)
    torch.save({"model": mae_state(), "epoch": 199, "args": args}, path)
    return path


def images(count: int = 2) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (count, 9, 8, 1), dtype=np.uint8).repeat(3, axis=3)
    return [Image.fromarray(each).resize((300, 340), Image.Resampling.BICUBIC) for each in noise]


def test_the_vector_is_the_mean_over_patch_tokens_normalised(checkpoint: Path) -> None:
    state = mae_state()
    reference = timm.models.vision_transformer.VisionTransformer(
        embed_dim=64, depth=2, num_heads=1, num_classes=0
    ).eval()
    own = reference.state_dict()
    reference.load_state_dict({name: state[name] for name in own})
    reference.norm = torch.nn.Identity()
    backbone = load_backbone(f"vit-mrm:{checkpoint}", device="cpu")
    batch = torch.stack([backbone.preprocess(image) for image in images()])
    with torch.no_grad():
        patches = reference.forward_features(batch)[:, 1:].mean(1)
    expected = torch.nn.functional.layer_norm(patches, (64,), eps=1e-6)
    torch.testing.assert_close(backbone.encode_images(batch), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("kind", "resize", "mean", "std"),
    [("vit-mrm", 224, 0.4978, 0.2449), ("vit-cxr-mae", 256, 0.4785, 0.2834)],
)
def test_an_image_is_prepared_as_the_lora_study_does(
    checkpoint: Path, kind: str, resize: int, mean: float, std: float
) -> None:
    study = transforms.Compose(
        [
            transforms.Resize(resize, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.Grayscale(num_output_channels=3),
            transforms.ToTensor(),
            transforms.Normalize([mean], [std]),
        ]
    )
    backbone = load_backbone(f"{kind}:{checkpoint}", device="cpu")
    for image in images():
        expected = study(image)
        step = 1.01 / 255 / std  # grey before resizing rounds otherwise than grey after it
        torch.testing.assert_close(backbone.preprocess(image), expected, atol=step, rtol=0)


def test_the_two_kinds_share_no_stored_vectors(checkpoint: Path) -> None:
    one, two = (describe(f"{kind}:{checkpoint}") for kind in ("vit-mrm", "vit-cxr-mae"))
    assert one.preprocessing != two.preprocessing
    assert (one.dim, one.reads_text) == (64, False)


def test_what_was_missing_and_not_used_is_listed(checkpoint: Path) -> None:
    missing, unused = load_backbone(f"vit-mrm:{checkpoint}", device="cpu").towers.remarks
    assert missing == "missing, at its initial value: fc_norm.bias, fc_norm.weight"
    assert unused.startswith("not used: decoder_blocks.0.attn.qkv.weight, decoder_embed.weight")


def test_a_finetuned_checkpoint_keeps_its_own_fc_norm(tmp_path: Path) -> None:
    state = mae_state()
    state["fc_norm.weight"], state["fc_norm.bias"] = torch.zeros(64), torch.arange(64.0)
    torch.save(state, tmp_path / "bare.pth")  # and no "model" around it
    backbone = load_backbone(f"vit-cxr-mae:{tmp_path / 'bare.pth'}", device="cpu")
    vectors = backbone.encode_images(torch.rand(1, 3, 224, 224))
    torch.testing.assert_close(vectors[0], torch.arange(64.0))


def test_positions_of_another_image_size_are_interpolated(tmp_path: Path) -> None:
    state = mae_state(grid=7)
    torch.save({"model": state}, tmp_path / "small.pth")
    trunk = load_backbone(f"vit-mrm:{tmp_path / 'small.pth'}", device="cpu").model.trunk
    assert trunk.pos_embed.shape == (1, 197, 64)
    torch.testing.assert_close(trunk.pos_embed[:, 0], state["pos_embed"][:, 0])


def test_an_old_file_of_torch_loads_too(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"model": mae_state()}, path, _use_new_zipfile_serialization=False)
    assert describe(f"vit-mrm:{path}").dim == 64


def test_a_checkpoint_of_another_architecture_names_the_first_keys(tmp_path: Path) -> None:
    state = mae_state()
    del state["blocks.1.norm2.weight"]
    state["blocks.0.attn.relative"] = torch.zeros(3)
    state["blocks.1.mlp.fc2.bias"] = torch.zeros(5)
    torch.save({"model": state}, tmp_path / "other.pth")
    with pytest.raises(UserError) as caught:
        load_backbone(f"vit-mrm:{tmp_path / 'other.pth'}", device="cpu")
    assert (
        "blocks.1.norm2.weight (missing), blocks.0.attn.relative (unexpected), "
        "blocks.1.mlp.fc2.bias ([5], not [64])"
    ) in str(caught.value)


class Trap:
    """An object whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_no_code_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    torch.save({"model": mae_state(), "trap": Trap(tmp_path / "run")}, tmp_path / "trap.pth")
    with pytest.raises(UserError, match="save the tensors alone"):
        load_backbone(f"vit-mrm:{tmp_path / 'trap.pth'}", device="cpu")
    assert not (tmp_path / "run").exists()


@settings(max_examples=25)
@given(place=st.integers(0, 2**16), flip=st.integers(1, 255), keep=st.integers(0, 2**16))
def test_a_damaged_checkpoint_is_an_error_or_loads(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int, keep: int
) -> None:
    whole = bytearray(_small())
    whole[-1 - place % len(whole)] ^= flip
    path = tmp_path_factory.mktemp("damaged") / "x.pth"
    path.write_bytes(whole[keep % 300 :] if keep % 3 == 0 else whole)
    with contextlib.suppress(UserError):  # and nothing else may be raised
        assert "cls_token" in read_checkpoint(path)


def _small() -> bytes:
    names = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")
    buffer = io.BytesIO()
    torch.save({"model": {name: torch.ones(2, 2, 2, 2) for name in names}}, buffer)
    return buffer.getvalue()


def test_a_missing_file_and_one_that_is_no_vit_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no checkpoint"):
        describe(f"vit-mrm:{tmp_path / 'gone.pth'}")
    torch.save({"model": {"conv1.weight": torch.ones(1)}}, tmp_path / "resnet.pth")
    with pytest.raises(UserError, match="is no checkpoint of a ViT"):
        describe(f"vit-mrm:{tmp_path / 'resnet.pth'}")


def test_it_reads_no_prompt_and_says_who_needs_none(checkpoint: Path) -> None:
    backbone = load_backbone(f"vit-mrm:{checkpoint}", device="cpu")
    with pytest.raises(UserError, match=r"no text tower.*linear-probe"):
        backbone.encode_texts(["No evidence of edema"])


def test_the_published_size_is_that_of_vit_b_16() -> None:
    with torch.device("meta"):
        trunk = new_trunk(Path("full.pth"), mae_state(width=768, depth=12))
    # The study's whole model but for its head; facts: 159,758 trained are 0.186 %.
    assert sum(parameter.numel() for parameter in trunk.parameters()) == 85_798_656
