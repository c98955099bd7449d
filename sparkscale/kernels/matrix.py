"""Functions of the feature matrix, computed from its Gram or covariance matrix."""

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
        The Gram matrix, :math:`X^T X` or :math:`X X^T`.

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
    r"""Return the whitening matrix, which makes features uncorrelated with unit variance, and its inverse.

    With :math:`C = U \Lambda U^T` it is :math:`(\Lambda + \epsilon)^{-1/2} U^T` for PCA, from the largest eigenvalue
    to the smallest, and :math:`U (\Lambda + \epsilon)^{-1/2} U^T` for ZCA, which stays closest to the data.

    Parameters
    ----------
    covariance : array_like, shape (d, d)
        Symmetric, positive semi-definite.
    epsilon : float, default=0.0
        Added to the eigenvalues.
    method : {"pca", "zca"}, default="pca"
        The whitening method.

    Returns
    -------
    matrix : array, shape (d, d)
        ``matrix @ (x - mean)`` is white. With epsilon 0, directions without variance are mapped to 0.
    inverse : array, shape (d, d)
        The inverse, or pseudoinverse: directions that were mapped to 0 are restored as the mean.

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
    eigenvalues, eigenvectors = xp.linalg.eigh(values)
    eigenvalues, eigenvectors = xp.flip(eigenvalues), xp.flip(eigenvectors, axis=1)
    # Fix the signs of the eigenvectors: the largest component of each is positive.
    at = xp.argmax(xp.abs(eigenvectors), axis=0)
    eigenvectors = eigenvectors * xp.sign(xp.take_along_axis(eigenvectors, at[None, :], axis=0))
    # Eigenvalues below the rounding error of the largest one count as 0.
    floor = eigenvalues[0] * values.shape[0] * float(xp.finfo(eigenvalues.dtype).eps)
    eigenvalues = xp.where(eigenvalues > floor, eigenvalues, xp.zeros_like(eigenvalues)) + epsilon
    root = xp.sqrt(eigenvalues)
    inverse_root = xp.where(root > 0, 1.0 / xp.where(root > 0, root, xp.ones_like(root)), xp.zeros_like(root))
    forward, back = (eigenvectors * inverse_root).T, eigenvectors * root
    return (forward, back) if method == "pca" else (eigenvectors @ forward, back @ eigenvectors.T)
