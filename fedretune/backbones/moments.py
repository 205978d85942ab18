"""Where a backbone's vectors lie: the second moment of those of public images.

Images' vectors share large directions that tell no finding from another. Under differential privacy
these use up what clipping lets through, and noise of the same size in every direction drowns what
is told by the others. `evening` makes a map of a second moment that evens directions out.

It must be the same at every site, and known without any patient: so it comes from images that are
public, for phantom-clip from its own pretraining phantoms. It is a file in the backbone's folder,
or any file that sites were given.
"""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fedretune.backbones.source import find_source
from fedretune.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

#: Its name in a backbone's folder, where .safetensors would mean weights, and what stands for that
#: folder in a config.
FILE, OF_BACKBONE = "image_moments.npy", "backbone"
#: Added to each direction's second moment, of which all directions together have 1: what is far
#: below it is not stretched further. Of .003 to .1 the best on validation images at epsilon 3.
FLOOR = 0.02


class Moments(NamedTuple):
    """The second moment ``[d, d]`` of unit vectors, and the SHA-256, in hex, of its file."""

    second: "Tensor"
    sha256: str


def second_moment(vectors: "Tensor") -> "Tensor":
    """Return the mean ``[d, d]`` of x x^T over the directions x of vectors ``[n, d]``, float32.

    Its trace is 1. Raises `UserError` if there is no vector other than 0.
    """
    from fedretune.objectives.prompt_embeddings import directed

    directions = directed(vectors.double()).directions
    found: Tensor = directions.T @ directions
    if not found.trace() > 0:
        raise UserError("There is no image whose vector has a direction: give others.")
    return (found / found.trace()).float()


def write_moments(path: Path, vectors: "Tensor") -> None:
    """Write the second moment of vectors ``[n, d]`` to `path`, as NumPy's float32."""
    import numpy as np

    np.save(path, second_moment(vectors).numpy(), allow_pickle=False)


def load_moments(where: str, backbone: str, dim: int, allow_hub: bool = False) -> Moments:
    """Return a second moment ``[dim, dim]``.

    Parameters
    ----------
    where : str
        `OF_BACKBONE` for the file in the backbone's folder, or a file's path.
    backbone : str
        As for `fedretune.backbones.describe`.
    dim : int
        Length of the backbone's vectors.

    Raises
    ------
    UserError
        There is no such file; it holds something else; or it is another backbone's.
    """
    path = _path(where, backbone, allow_hub)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"Cannot read the second moment {path} ({error.strerror}). Make one of public images: "
            "fedretune backbones moments."
        ) from error
    return Moments(_checked(content, path, dim), hashlib.sha256(content).hexdigest())


def evening(second: "Tensor") -> "Tensor":
    """Return the symmetric map ``[d, d]`` that evens out what has the second moment M, ``[d, d]``.

    It is ``(M + FLOOR I)^(-1/2)`` with M of trace 1, times what leaves the mean square of a vector
    as it is: whitening, but for the floor. A gradient that is evened before it is clipped, and once
    more after the noise, is one in other coordinates: preconditioning with public knowledge, Li
    et al. 2022 (arXiv 2202.05963), who have a diagonal where this has a matrix.
    """
    import torch

    second = second.double() / second.double().trace()
    values, directions = torch.linalg.eigh(second)
    stretched = (values.clamp_min(0) + FLOOR).rsqrt()
    kept = (values.clamp_min(0) * stretched.square()).sum().sqrt()
    found: Tensor = (directions * (stretched / kept)) @ directions.T
    return found.float()


def _path(where: str, backbone: str, allow_hub: bool) -> Path:
    if where != OF_BACKBONE:
        return Path(where).expanduser()
    folder = find_source(backbone, allow_hub).folder
    if folder is None or not (folder / FILE).is_file():
        raise UserError(
            f"privacy.moments = {OF_BACKBONE}, and the backbone '{backbone}' brings no {FILE}. "
            "Make one of public images (fedretune backbones moments), give it to every site, and "
            "set privacy.moments to its path; or to none."
        )
    return folder / FILE


def _checked(content: bytes, path: Path, dim: int) -> "Tensor":
    """Return the tensor of a file. Raises `UserError` if it is no second moment of this size."""
    import numpy as np
    import torch

    try:
        second = torch.from_numpy(np.load(io.BytesIO(content), allow_pickle=False)).float()
    except (ValueError, EOFError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} holds no second moment: make one with fedretune backbones moments."
        ) from error
    if second.shape != (dim, dim):
        raise UserError(
            f"{path} is a second moment of shape {list(second.shape)}, and the backbone's vectors "
            f"have {dim} numbers: it was made of another backbone's."
        )
    if not (bool(second.isfinite().all()) and second.trace() > 0 and second.equal(second.T)):
        raise UserError(f"{path} is no second moment: it is not symmetric, not finite, or 0.")
    return second
