"""What a training image goes through before the model sees it: the study's two ways, and none."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from fedretune.errors import one_of

Transform = Callable[[Image.Image], Tensor]

AUGMENTATIONS = ("crop-flip", "rand-augment", "none")
#: timm's names, as the study's code passes them.
_RAND_AUGMENT, _ERASE = "rand-m9-mstd0.5-inc1", 0.25


def augmentation(name: str, size: int, mean: float, std: float) -> Transform:
    """Return what makes a float32 tensor ``[3, size, size]`` of an image, at random.

    Randomness comes from the global generators, as torchvision's and timm's does: call it within
    `seeded`.

    Parameters
    ----------
    name : str
        One of `AUGMENTATIONS`, but ``none``, which is the backbone's own preprocessing.
    size : int
        Pixels of each side.
    mean, std : float
        Taken off, and divided by, where pixels lie in [0, 1].
    """
    one_of("augmentation", name, AUGMENTATIONS[:-1])
    return _crop_flip(size, mean, std) if name == "crop-flip" else _rand_augment(size, mean, std)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the three global generators of the CPU, and leave them as they were."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # `torch.manual_seed` also notes a stack for CUDA
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@dataclass(frozen=True)
class _Grey:
    """Steps that end with one channel, of which three are made."""

    steps: transforms.Compose

    def __call__(self, image: Image.Image) -> Tensor:
        tensor: Tensor = self.steps(image)
        return tensor.expand(3, -1, -1).contiguous()


@dataclass(frozen=True)
class _Coloured:
    """Steps that want an image of three channels."""

    steps: transforms.Compose

    def __call__(self, image: Image.Image) -> Tensor:
        tensor: Tensor = self.steps(image.convert("RGB"))
        return tensor


def _crop_flip(size: int, mean: float, std: float) -> Transform:
    steps = [
        transforms.Grayscale(1),
        transforms.RandomResizedCrop(size, interpolation=InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([mean], [std]),
    ]
    return _Grey(transforms.Compose(steps))


def _rand_augment(size: int, mean: float, std: float) -> Transform:
    from timm.data.transforms_factory import create_transform

    steps = create_transform(
        input_size=size,
        is_training=True,
        auto_augment=_RAND_AUGMENT,
        interpolation="bicubic",
        re_prob=_ERASE,
        re_mode="pixel",
        re_count=1,
        mean=(mean,) * 3,
        std=(std,) * 3,
    )
    for step in steps.transforms[2].ops:
        if step.name.startswith("Posterize"):
            step.aug_fn = _posterized
    # After the crop, the flip and the policy, which works on colours: grey again.
    steps.transforms.insert(3, transforms.Grayscale(3))
    return _Coloured(steps)


def _posterized(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """Return an image of so many bits a channel; none: black, as in older Pillows."""
    if bits >= 8:
        return image
    return ImageOps.posterize(image, bits) if bits else Image.new(image.mode, image.size)
