"""The affine maps that scalers fit: ``y = (x - center) / scale + offset``, and ``y = (x - center) W + offset``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import as_array_like, double
from sparkscale.errors import SizeMismatchError

__all__ = ["AffineMap", "MatrixMap"]

Array = npt.NDArray[np.float64]
FIELDS = ("center", "scale", "offset")


@dataclass(frozen=True)
class AffineMap:
    r"""A per-feature affine map in divisor form.

    .. math:: y_j = (x_j - center_j) / scale_j + offset_j

    Centring comes first and the scale divides, because ``x * k + b`` loses digits when the mean is large
    relative to the spread, and misses the end points of a min-max range.

    A scale of infinity maps every finite value of a feature to its offset. The inverse of a map multiplies
    instead of dividing, so that it is exact where ``1 / scale`` would not be; it maps a collapsed feature to
    its center.

    Parameters
    ----------
    center, scale, offset : numpy.ndarray of float64, shape (n_features,)
        The parameters. They are made read-only.
    divides : bool, default=True
        ``False`` for an inverse map: ``y = (x - center) * scale + offset``.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.affine import AffineMap
    >>> m = AffineMap(center=np.array([10.0]), scale=np.array([4.0]), offset=np.array([1.0]))
    >>> m.apply([[10.0], [12.0]])
    array([[1. ],
           [1.5]])
    >>> m.inverse().apply(m.apply([[12.0]]))
    array([[12.]])
    """

    center: Array
    scale: Array
    offset: Array
    divides: bool = True

    def __post_init__(self) -> None:
        _freeze(self, *FIELDS)

    @classmethod
    def identity(cls, features: int) -> AffineMap:
        """Return the identity map."""
        return cls(np.zeros(features), np.ones(features), np.zeros(features))

    def arrays(self) -> dict[str, Array]:
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in FIELDS}

    @classmethod
    def concat(cls, maps: Sequence[AffineMap]) -> AffineMap:
        """Concatenate the features of maps that all divide, or all multiply."""
        center, scale, offset = (np.concatenate([np.empty(0), *(getattr(m, n) for m in maps)]) for n in FIELDS)
        return cls(center, scale, offset, all(m.divides for m in maps))

    def __len__(self) -> int:
        return len(self.center)

    def __getitem__(self, features: slice | npt.NDArray[np.intp]) -> AffineMap:
        return AffineMap(self.center[features], self.scale[features], self.offset[features], self.divides)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, AffineMap)
            and self.divides == other.divides
            and all(np.array_equal(getattr(self, p), getattr(other, p), equal_nan=True) for p in FIELDS)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays do not hash

    def apply(self, x: Any) -> Array:
        """Map rows of features.

        Parameters
        ----------
        x : array_like, shape (..., n_features)
            Values; NaN stays NaN.

        Returns
        -------
        array of float64
            The mapped values, of the shape, library and device of ``x``.

        Raises
        ------
        SizeMismatchError
            If the length of the last axis of ``x`` is not the number of features. A map of one feature takes any shape.
        """
        values = _check_features(double(x)[1], len(self))
        center, scale, offset = (as_array_like(values, p) for p in (self.center, self.scale, self.offset))
        with np.errstate(all="ignore"):
            centred = values - center
            return (centred / scale if self.divides else centred * scale) + offset  # type: ignore[no-any-return]

    def inverse(self) -> AffineMap:
        """Return the inverse map; it maps a collapsed feature to its center."""
        collapsed, restored = (np.inf, 0.0) if self.divides else (0.0, np.inf)
        scale = np.where(self.scale == collapsed, restored, self.scale)
        return AffineMap(self.offset, scale, self.center, not self.divides)

    @property
    def keeps_zero(self) -> bool:
        """Whether every feature maps 0 to 0, so that sparse vectors stay sparse."""
        return bool(np.all(self.apply(np.zeros(len(self))) == 0.0))


def _check_features(values: Any, features: int) -> Any:
    """Return the values unchanged; refuse rows of another length, which NumPy would broadcast."""
    if features != 1 and values.shape[-1:] != (features,):
        raise SizeMismatchError(
            f"The map takes rows of {features} features in the last axis. Got an array of shape {tuple(values.shape)}."
        )
    return values


@dataclass(frozen=True)
class MatrixMap:
    r"""An affine map in which every result depends on all features.

    .. math:: y = (x - center) W + offset

    Parameters
    ----------
    center : numpy.ndarray of float64, shape (n_features,)
        Subtracted first.
    matrix, back : numpy.ndarray of float64, shape (n_features, n_features)
        The matrix W, and its inverse or pseudoinverse.
    offset : numpy.ndarray of float64, shape (n_features,)
        Added last.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.affine import MatrixMap
    >>> swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> m = MatrixMap(center=np.array([10.0, 20.0]), matrix=swap, back=swap, offset=np.zeros(2))
    >>> m.apply([[11.0, 22.0], [11.0, np.nan]])
    array([[ 2.,  1.],
           [nan, nan]])
    >>> m.inverse().apply([2.0, 1.0])
    array([11., 22.])
    """

    center: Array
    matrix: Array
    back: Array
    offset: Array

    def __post_init__(self) -> None:
        _freeze(self, "center", "matrix", "back", "offset")

    def __len__(self) -> int:
        return len(self.center)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MatrixMap) and all(
            np.array_equal(getattr(self, p), getattr(other, p)) for p in ("center", "matrix", "back", "offset")
        )

    __hash__ = None  # type: ignore[assignment]  # arrays do not hash

    def apply(self, x: Any) -> Array:
        """Map rows of features.

        Parameters
        ----------
        x : array_like, shape (..., n_features)
            Values; a row that holds NaN or an infinity becomes a row of NaN.

        Returns
        -------
        array of float64
            The mapped values, of the shape, library and device of ``x``.

        Raises
        ------
        SizeMismatchError
            If the length of the last axis of ``x`` is not the number of features. A map of one feature takes any shape.
        """
        xp, values, _ = double(x)
        _check_features(values, len(self))
        center, matrix, offset = (as_array_like(values, p) for p in (self.center, self.matrix, self.offset))
        with np.errstate(all="ignore"):
            mapped = (values - center) @ matrix + offset
            if not xp.isfinite(xp.sum(values)):
                mapped = xp.where(xp.all(xp.isfinite(values), axis=-1, keepdims=True), mapped, xp.nan)
        return mapped  # type: ignore[no-any-return]

    def inverse(self) -> MatrixMap:
        """Return the inverse map; directions that this one drops are restored as the center."""
        return MatrixMap(self.offset, self.back, self.matrix, self.center)


def _freeze(instance: Any, *names: str) -> None:
    """Convert attributes to read-only arrays of float64."""
    for name in names:
        value = np.asarray(getattr(instance, name), dtype=np.float64)
        if value.flags.writeable:
            value = value.copy()
            value.flags.writeable = False
        object.__setattr__(instance, name, value)
