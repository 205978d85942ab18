"""What joins two towers: a linear map of each vector, in closed form.

Of image vectors x, centred, and sentence vectors t that are true of the image: regularised
canonical correlation (Hotelling, Biometrika 1936; ridge: Vinod, J. Econometrics 1976). With
``Wx = (Cov x + r tr/p I)^(-1/2)``, likewise Wt, and ``U S V' = Wx Cov(x, t) Wt``, the first
coordinates are ``S^(1/2) U' Wx x`` and ``S^(1/2) V' Wt t``, so that their product is large where
image and sentence belong together. The others are what the image shows and no sentence tells:
principal components of x; there the text has zeros.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Joint:
    """Two linear maps into one space of `d` dimensions.

    Parameters
    ----------
    image : float64 array [d, p]
    offset : float64 array [d]
        Added to a mapped image vector: it centres.
    text : float64 array [d, q]
    correlations : float64 array [shared]
        Of the shared coordinates: regularised, so below the canonical ones.
    """

    image: Array
    offset: Array
    text: Array
    correlations: Array


def join(
    images: Array, sentences: Array, true: Array, shared: int, own: int, ridge: tuple[float, float]
) -> Joint:
    """Fit both maps on `n` images and `m` sentences.

    Parameters
    ----------
    images : float64 array [n, p]
    sentences : float64 array [m, q]
    true : float64 array [n, m]
        How often each sentence was said of each image; every image needs one.
    shared, own : int
        Coordinates of both, and of the image alone.
    ridge : (float, float)
        Of images and of sentences, each as a share of their mean variance.
    """
    said = true / true.sum(axis=1, keepdims=True)
    weights = said.mean(axis=0)
    mean_image, mean_text = images.mean(axis=0), weights @ sentences
    x, t = images - mean_image, sentences - mean_text
    cov_x, cov_t = x.T @ x / len(x), (t * weights[:, None]).T @ t
    white_x, white_t = _inverse_root(cov_x, ridge[0]), _inverse_root(cov_t, ridge[1])
    u, s, vt = np.linalg.svd(white_x @ (x.T @ (said @ t) / len(x)) @ white_t)
    root = np.sqrt(s[:shared])[:, None]
    image, text = root * (u[:, :shared].T @ white_x), root * (vt[:shared] @ white_t)
    alone = _components(cov_x, image, own, ridge[0])
    if own:  # as much of the vector as the shared coordinates are
        alone *= np.sqrt(np.trace(image @ cov_x @ image.T) / np.trace(alone @ cov_x @ alone.T))
    both = np.concatenate([image, alone])
    # A text tower has no offset: the direction in which all sentences agree is taken out instead.
    text = text - np.outer(text @ mean_text, mean_text) / (mean_text @ mean_text)
    silent = np.zeros((own, text.shape[1]))
    return Joint(both, -both @ mean_image, np.concatenate([text, silent]), s[:shared])


def _inverse_root(covariance: Array, ridge: float) -> Array:
    values, vectors = np.linalg.eigh(_with_ridge(covariance, ridge))
    root: Array = (vectors / np.sqrt(values)) @ vectors.T
    return root


def _components(covariance: Array, taken: Array, count: int, ridge: float) -> Array:
    """Return the first principal components outside the span of `taken`, nearly of one variance."""
    basis = np.linalg.qr(taken.T)[0]
    rest = np.eye(len(covariance)) - basis @ basis.T
    values, vectors = np.linalg.eigh(rest @ covariance @ rest)
    order = np.argsort(values)[::-1][:count]
    scale = np.sqrt(values[order] + ridge * np.trace(covariance) / len(covariance))
    components: Array = (vectors[:, order] / scale).T
    return components * _sign(components)


def _sign(components: Array) -> Array:
    """Return +1 or -1 a row: an eigenvector's sign is arbitrary, and a file must not be."""
    largest = np.abs(components).argmax(axis=1)
    signs: Array = np.sign(components[np.arange(len(components)), largest])[:, None]
    return signs


def _with_ridge(covariance: Array, ridge: float) -> Array:
    size = len(covariance)
    lifted: Array = covariance + ridge * np.trace(covariance) / size * np.eye(size)
    return lifted
