"""Maps of each feature by itself that are monotone, but not affine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import double
from sparkscale.errors import SizeMismatchError
from sparkscale.kernels import power
from sparkscale.kernels.quantile import backward, forward

__all__ = ["Curve", "PowerCurve", "QuantileCurve"]

Array = npt.NDArray[np.float64]
C = TypeVar("C", bound="Curve")


@dataclass(frozen=True, eq=False)
class Curve(ABC):
    """A monotone function of each feature, or its inverse.

    Subclasses add arrays with one entry per feature, and constants.

    Parameters
    ----------
    inverts : bool
        Whether this is the inverse.
    """

    inverts: bool

    @classmethod
    @abstractmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the arrays, whose first axis is the features."""

    @abstractmethod
    def _applied(self, xp: Any, values: Any) -> Any:
        """Map rows of features in double precision; NaN stays NaN."""

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name."""
        return {name: getattr(self, name) for name in self.names()}

    def _with(self: C, arrays: Mapping[str, Any]) -> C:
        """Return a curve of other arrays."""
        return replace(self, **arrays)

    def apply(self, x: Any) -> Any:
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
            If the length of the last axis of ``x`` is not the number of features.
        """
        xp, values, _ = double(x)
        if values.shape[-1:] != (len(self),):
            raise SizeMismatchError(
                f"The map takes rows of {len(self)} features in the last axis. Got an array of shape {tuple(values.shape)}."
            )
        with np.errstate(all="ignore"):
            return self._applied(xp, values)

    def inverse(self: C) -> C:
        """Return the inverse."""
        return replace(self, inverts=not self.inverts)

    @staticmethod
    def concat(curves: Sequence[C]) -> C:
        """Concatenate the features of several curves of one class with the same constants."""
        names = curves[0].names()
        return curves[0]._with({name: np.concatenate([getattr(c, name) for c in curves]) for name in names})

    def __len__(self) -> int:
        return len(getattr(self, self.names()[0]))

    def __getitem__(self: C, features: slice | npt.NDArray[np.intp]) -> C:
        return self._with({name: array[features] for name, array in self.arrays().items()})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            np.array_equal(a, b, equal_nan=True) if isinstance(a, np.ndarray) else a == b
            for a, b in ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        )

    __hash__ = None  # type: ignore[assignment]  # arrays do not hash

    @property
    def keeps_zero(self) -> bool:
        """Whether every feature maps 0 to 0, so that sparse vectors stay sparse."""
        return bool(np.all(self.apply(np.zeros(len(self))) == 0.0))


@dataclass(frozen=True, eq=False)
class QuantileCurve(Curve):
    """The ranks of values among quantiles, or the normal values of these ranks; see `sparkscale.kernels.quantile_transform`.

    Parameters
    ----------
    inverts : bool
        Whether this is the inverse.
    normal : bool
        Whether results are normal values.
    quantiles : numpy.ndarray of float64, shape (n_features, n_quantiles)
        Quantiles for evenly spaced ranks, in ascending order.
    last : numpy.ndarray of float64, shape (n_features,)
        The place of the last quantile of each feature, whose rank is 1; the others are not used.
    """

    normal: bool
    quantiles: Array
    last: Array

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """See `Curve`."""
        return ("quantiles", "last")

    def _applied(self, xp: Any, values: Any) -> Any:
        function = backward if self.inverts else forward
        return function(xp, values, self.quantiles, self.last, is_normal=self.normal)


@dataclass(frozen=True, eq=False)
class PowerCurve(Curve):
    """The power transforms of values, standardized or not; see `sparkscale.kernels.power_transform`.

    Parameters
    ----------
    inverts : bool
        Whether this is the inverse.
    shift : float
        1 for Yeo-Johnson transforms, and 0 for Box-Cox transforms.
    exponent, origin, factor, offset : numpy.ndarray of float64, shape (n_features, n_sides)
        Those of each side: the values that are not negative, and for Yeo-Johnson transforms the negative ones.
    """

    shift: float
    exponent: Array
    origin: Array
    factor: Array
    offset: Array

    @classmethod
    def of(cls, sides: Sequence[power.Side]) -> PowerCurve:
        """Return the curve of these sides."""
        arrays = {name: np.stack([getattr(side, name) for side in sides], axis=1) for name in cls.names()}
        return cls(False, sides[0].shift, **arrays)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """See `Curve`."""
        return ("exponent", "origin", "factor", "offset")

    @property
    def sides(self) -> tuple[power.Side, ...]:
        """The sides."""
        arrays = self.arrays().values()
        return tuple(power.Side(self.shift, *(a[:, k] for a in arrays)) for k in range(self.origin.shape[1]))

    def _applied(self, xp: Any, values: Any) -> Any:
        return (power.backward if self.inverts else power.forward)(xp, values, self.sides)
