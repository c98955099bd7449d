"""Functions of the whole feature matrix, from its Gram or covariance matrix."""

from __future__ import annotations

from typing import Any

from sparkscale.arrays import double
from sparkscale.errors import ParamError

__all__ = ["spectral_norm", "whitening"]


def spectral_norm(gram: Any) -> Any:
    r"""Return the largest singular value of a matrix, given its Gram matrix.

    .. math:: \sigma = \sqrt{\lambda_{max}(X^T X)}

    Parameters
    ----------
    gram : array_like, shape (d, d)
        The matrix times its transpose, either way round.

    Returns
    -------
    array, 0-dimensional
        The singular value.

    References
    ----------
    T. Miyato et al., "Spectral normalization for generative adversarial networks", arXiv:1802.05957.

    Examples
    --------
    >>> from sparkscale.kernels import spectral_norm
    >>> round(float(spectral_norm([[25.0, 20.0], [20.0, 25.0]])), 8)
    6.70820393
    """
    xp, values, _ = double(gram)
    largest = xp.linalg.eigvalsh(values)[-1]
    return xp.sqrt(xp.where(largest > 0, largest, xp.zeros_like(largest)))


def whitening(covariance: Any, *, epsilon: float = 0.0, method: str = "pca") -> tuple[Any, Any]:
    r"""Return the matrix that makes features uncorrelated and of unit variance, and its inverse.

    With :math:`C = U \Lambda U^T` it is :math:`(\Lambda + \epsilon)^{-1/2} U^T` for PCA, from the largest eigenvalue
    to the smallest, and :math:`U (\Lambda + \epsilon)^{-1/2} U^T` for ZCA, which stays closest to the data.

    Parameters
    ----------
    covariance : array_like, shape (d, d)
        Symmetric, positive semi-definite.
    epsilon : float, default=0.0
        Added to the eigenvalues.
    method : {"pca", "zca"}, default="pca"
        Which of the two.

    Returns
    -------
    matrix : array, shape (d, d)
        ``matrix @ (x - mean)`` is white. A direction without variance, where epsilon is 0, becomes 0.
    inverse : array, shape (d, d)
        The way back; what became 0 comes back as the mean.

    Raises
    ------
    ParamError
        For an unknown method.

    References
    ----------
    A. Kessy, A. Lewin, K. Strimmer, "Optimal whitening and decorrelation", The American Statistician 72 (2018).

    Examples
    --------
    >>> from sparkscale.kernels import whitening
    >>> matrix, _ = whitening([[4.0, 0.0], [0.0, 1.0]], method="zca")
    >>> matrix
    array([[0.5, 0. ],
           [0. , 1. ]])
    """
    xp, values, _ = double(covariance)
    if method not in {"pca", "zca"}:
        raise ParamError(f"method must be 'pca' or 'zca'. Got {method!r}.")
    found, vectors = xp.linalg.eigh(values)
    found, vectors = xp.flip(found), xp.flip(vectors, axis=1)
    # Directions are made unique: the largest component of each is positive.
    at = xp.argmax(xp.abs(vectors), axis=0)
    vectors = vectors * xp.sign(xp.take_along_axis(vectors, at[None, :], axis=0))
    # What is below the rounding of the largest eigenvalue is no variance.
    floor = found[0] * values.shape[0] * float(xp.finfo(found.dtype).eps)
    found = xp.where(found > floor, found, xp.zeros_like(found)) + epsilon
    root = xp.sqrt(found)
    inverse_root = xp.where(root > 0, 1.0 / xp.where(root > 0, root, xp.ones_like(root)), xp.zeros_like(root))
    forward, back = (vectors * inverse_root).T, vectors * root
    return (forward, back) if method == "pca" else (vectors @ forward, back @ vectors.T)
