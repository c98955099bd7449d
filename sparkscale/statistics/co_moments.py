"""Mean and co-moments of all features jointly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import device

from sparkscale.arrays import namespace, rows_at_once
from sparkscale.blocks import Block, DenseBlock, Runs
from sparkscale.statistics._base import Array, Fold, Mergeable, total
from sparkscale.statistics._reductions import RunReductions, run_starts
from sparkscale.statistics._rows import InRows, Lists
from sparkscale.statistics._units import SMALLEST
from sparkscale.statistics.counts import Counts

__all__ = ["MOST_FEATURES", "CoMoments"]

TILE_FEATURES = 32  # rows and columns of a tile of the matrix, as executors exchange it
MOST_FEATURES = 4096  # a matrix of 134 MB, whose eigenvalues take half a minute
# Rows and values per matrix product, whichever gives more rows: large enough that adding up the products costs little,
# small enough to copy.
PRODUCT_ROWS, PRODUCT_VALUES = 1024, 1 << 18


@dataclass(frozen=True, eq=False)
class CoMoments(InRows):
    r"""Mean and co-moments about the mean, over the rows without an invalid value.

    Rows are shifted by the first row and centred before they are multiplied, and the mean is kept as origin plus shift,
    as in `Moments`. Blocks merge by

    .. math:: C = \sum_k C_k + \sum_k n_k (\mu_k - \mu) (\mu_k - \mu)^T .

    For several runs of rows, the arrays have one row, or one matrix, per run.

    Executors exchange tiles of the matrix: the features in the rows of a tile may differ from those in its columns.

    Parameters
    ----------
    count, invalid : numpy.ndarray of float64, shape (n_features,)
        Number of valid and of invalid (null, NaN, infinite) values, over all rows.
    rows : numpy.ndarray of float64, shape (n_features,)
        Number of rows without an invalid value, the same for all features.
    origin, shift : numpy.ndarray of float64, shape (n_features,)
        Their sum is the mean over those rows; 0 if there is none. In a tile off the diagonal, the entries of the
        features in its columns follow those of the features in its rows.
    comoments : numpy.ndarray of float64, shape (n_features, n_features)
        Sums of products of deviations from the mean; 0 if there is no row. Products below 1e-290 may have lost digits,
        but a diagonal entry is 0 only for a constant feature.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance: analysis and
    recommendations", The American Statistician 37 (1983); P. Pebay, "Formulas for robust, one-pass parallel
    computation of covariances and arbitrary-order statistical moments", SAND2008-6212, for co-moments.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.blocks import DenseBlock
    >>> from sparkscale.statistics import CoMoments
    >>> a = CoMoments.of(DenseBlock(np.array([[1.0, 2.0], [2.0, 1.0], [4.0, 7.0]])))
    >>> b = CoMoments.of(DenseBlock(np.array([[7.0, 3.0], [11.0, 5.0], [np.nan, 9.0]])))
    >>> m = a.merge(b)
    >>> m.comoments, m.invalid
    (array([[66. , 18. ],
           [18. , 23.2]]), array([1., 0.]))
    """

    joint = True
    weights = {"rows": 1, "comoments": 1}

    rows: Array
    origin: Array
    shift: Array
    comoments: Array

    @property
    def mean(self) -> Array:
        """The mean of the rows without an invalid value."""
        return self.origin + self.shift

    @property
    def gram(self) -> Array:
        r"""The Gram matrix of those rows, :math:`X^T X = C + n \mu \mu^T`."""
        with np.errstate(all="ignore"):
            square: Array = np.outer(self.mean, self.mean)
            return self.comoments + float(self.rows.max(initial=0.0)) * square

    def covariance(self, ddof: int = 1) -> Array:
        """Return the covariance matrix; zeros if no degree of freedom is left.

        Parameters
        ----------
        ddof : int, default=1
            1 for the sample covariance, 0 for the population covariance.

        Returns
        -------
        numpy.ndarray of float64, shape (n_features, n_features)
            Symmetric.
        """
        freedom = self.rows.max(initial=0.0) - ddof
        return self.comoments / freedom if freedom > 0 else np.zeros_like(self.comoments)

    @classmethod
    def separate(cls) -> type[Mergeable]:
        """See `Statistic`."""
        return Counts

    @classmethod
    def numbers(cls, features: int) -> int:
        """Return how many numbers the statistic of this many features consists of."""
        return features * (features + 5)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> CoMoments:
        """Build a statistic from its arrays; the co-moments may be flattened."""
        count, values = (np.asarray(arrays[name], dtype=np.float64) for name in ("count", "comoments"))
        shaped = values.reshape(*count.shape, values.size // max(count.size, 1))
        return super().from_arrays({**arrays, "comoments": shaped})

    @classmethod
    def of(cls, block: Block) -> CoMoments:
        """Return the co-moments of a block."""
        if block.runs is not None and block.rows:
            return cls._of_block_with_runs(block)
        fold, step = Fold(), max(PRODUCT_ROWS, PRODUCT_VALUES // max(block.size, 1))
        if isinstance(block, DenseBlock):
            step = max(step, rows_at_once(block.values))
        for start in range(0, block.rows, step):
            with np.errstate(all="ignore"):  # an overflow shows in the result, and is refused when it is used
                fold.add(cls._of_chunk(block.dense(start, start + step)))
        statistic: CoMoments | None = fold.result()
        return cls.missing(block.size, 0) if statistic is None else statistic

    @classmethod
    def _of_chunk(cls, values: Array) -> CoMoments:
        xp, rows = namespace(values), int(values.shape[0])
        ones = xp.ones_like(values[0, :])
        zero = invalid = xp.zeros_like(ones)
        if not xp.isfinite(xp.sum(values)):  # a finite sum proves that all values are valid
            valid = xp.isfinite(values)
            invalid, values = rows - xp.sum(xp.astype(valid, xp.float64), axis=0), values[xp.all(valid, axis=1)]
        complete = int(values.shape[0])
        if not complete:
            return cls(rows - invalid, invalid, zero, zero, zero, zero[:, None] * zero)
        deviation = values - values[0, :]
        shift = xp.mean(deviation, axis=0)
        deviation = deviation - shift
        return cls(rows - invalid, invalid, ones * complete, ones * values[0, :], shift, _gram(deviation))

    @classmethod
    def _of_block_with_runs(cls, block: Block) -> CoMoments:
        """Return the co-moments of each run of rows."""
        assert block.runs is not None  # noqa: S101  # checked by the caller
        step = max(1, PRODUCT_VALUES // max(block.size, 1) ** 2)
        edges = range(0, block.rows, step)
        with np.errstate(all="ignore"):
            chunks = [
                cls._of_runs(block.dense(start, start + step), block.runs[start : start + step]) for start in edges
            ]
        return cls.join_blocks(chunks, [block.runs[start : start + step] for start in edges])

    @classmethod
    def _of_runs(cls, values: Array, runs: Runs) -> CoMoments:
        """Return the co-moments of each run, in the order of the runs; their rows' products are held at once."""
        valid, starts = np.isfinite(values), run_starts(runs)
        count = np.add.reduceat(valid, starts, axis=0, dtype=np.float64)
        invalid = np.diff(starts, append=len(runs))[:, None] - count
        complete = valid.all(axis=1)
        values, kept = values[complete], runs[complete]
        nothing = cls.missing(values.shape[1], 0).scatter(np.array([], np.intp), len(starts))
        if not len(values):
            return replace(nothing, count=count, invalid=invalid)
        rows = RunReductions(namespace(values), run_starts(kept), len(kept), weighted=False)
        origin, number = rows.first(values), rows.count(values) * np.ones(values.shape[1])
        deviation = values - rows.each(origin)
        shift = rows.sum(deviation) / number
        deviation = deviation - rows.each(shift)
        some = cls(number, number, number, origin, shift, _products(deviation, np.ones(len(kept)), rows))
        places = np.flatnonzero(np.isin(runs[starts], kept))
        return replace(some.scatter(places, len(starts)), count=count, invalid=invalid)

    def merge_rows(self, numbers: npt.NDArray[np.intp]) -> CoMoments:
        """See `PerFeature`."""
        rows = RunReductions(namespace(self.count), run_starts(numbers), len(numbers), weighted=False)
        if len(rows.starts) == len(numbers):
            return self
        with np.errstate(all="ignore"):
            present, number = self.rows > 0, rows.sum(self.rows)
            origin = np.where(rows.any(present), rows.first(self.origin, present), 0.0)
            shifts = np.where(present, (self.origin - rows.each(origin)) + self.shift, 0.0)
            shift = rows.sum(self.rows * shifts) / np.where(number > 0, number, 1.0)
            deviation = np.where(present, shifts - rows.each(shift), 0.0)
            comoments = rows.sum(self.comoments) + _products(deviation, self.rows[:, 0], rows)
            return CoMoments(rows.sum(self.count), rows.sum(self.invalid), number, origin, shift, comoments)

    def take_features(self, features: npt.NDArray[np.intp]) -> CoMoments:
        """See `PerFeature`."""
        arrays = {n: a[..., features] for n, a in self.arrays().items() if n != "comoments"}
        return CoMoments(**arrays, comoments=self.comoments[..., features[:, None], features])

    @classmethod
    def of_row_arrays(cls, arrays: Sequence[Array]) -> CoMoments:
        """See `PerFeature`."""
        by_name = dict(zip(cls.names(), arrays, strict=True))
        return cls(**{**by_name, "comoments": by_name["comoments"].reshape(*by_name["count"].shape, -1)})

    @classmethod
    def of_lists(cls, lists: Mapping[str, Lists]) -> CoMoments:
        """See `PerFeature`."""
        return cls.of_row_arrays([values.reshape(len(lengths), -1) for lengths, values in lists.values()])

    def row_arrays(self) -> Iterator[tuple[npt.NDArray[np.intp], list[Array]]]:
        """See `PerFeature`."""
        yield np.arange(len(self)), [array.reshape(len(self), -1) for array in self.arrays().values()]

    @classmethod
    def missing(cls, features: int, rows: float) -> CoMoments:
        """Return the co-moments of rows without a valid value."""
        zero = np.zeros(features)
        return cls(zero, np.full(features, float(rows)), zero, zero, zero, np.zeros((features, features)))

    def merge(self, *others: CoMoments) -> CoMoments:
        """Return the co-moments of the rows of all operands."""
        operands, xp = (self, *others), namespace(self.count)
        count, invalid = total([s.count for s in operands]), total([s.invalid for s in operands])
        operands = tuple(s for s in operands if xp.any(s.rows > 0)) or operands[:1]
        first = operands[0]
        if len(operands) == 1:
            return replace(first, count=count, invalid=invalid)
        with np.errstate(all="ignore"):
            rows = xp.stack([s.rows[0] for s in operands])
            shifts = xp.stack([(s.origin - first.origin) + s.shift for s in operands])
            shift = rows @ shifts / xp.sum(rows)
            shifts = (shifts - shift) * xp.sqrt(rows)[:, None]
            height, width = first.comoments.shape
            whole = height == width == shifts.shape[1]  # not a tile off the diagonal
            between = _gram(shifts) if whole else shifts[:, :height].T @ shifts[:, shifts.shape[1] - width :]
            comoments = total([*(s.comoments for s in operands), between])
        return CoMoments(count, invalid, total([s.rows for s in operands]), first.origin, shift, comoments)

    def chunks(self) -> Iterator[tuple[npt.NDArray[np.intp], list[Array]]]:
        """See `Statistic`: the tiles of the upper triangle of the matrix, each with the place of its first entry."""
        edges = range(0, len(self), TILE_FEATURES)
        for x, y in ((i, j) for i in edges for j in edges if i <= j):
            high, wide = slice(x, x + TILE_FEATURES), slice(y, y + TILE_FEATURES)
            at = np.arange(len(self))
            at = at[high] if x == y else np.concatenate([at[high], at[wide]])
            per_feature = (self.count[high], self.invalid[high], self.rows[high], self.origin[at], self.shift[at])
            tile = [a[None] for a in per_feature] + [self.comoments[high, wide].reshape(1, -1)]
            yield np.array([x * len(self) + y]), tile

    @classmethod
    def of_chunks(cls, starts: Sequence[int], chunks: Sequence[CoMoments], features: int) -> CoMoments:
        """See `Statistic`."""
        arrays = {name: array.copy() for name, array in cls.missing(features, 0).arrays().items()}
        for start, tile in zip(starts, chunks, strict=True):
            x, y = divmod(start, features)
            height, width = tile.comoments.shape
            high, wide = slice(x, x + height), slice(y, y + width)
            for name in ("count", "invalid", "rows", "origin", "shift"):
                arrays[name][high] = getattr(tile, name)[:height]
            arrays["comoments"][high, wide] = tile.comoments
            arrays["comoments"][wide, high] = tile.comoments.T
        return cls.from_arrays(arrays)


def _products(deviation: Array, weights: Array, rows: RunReductions) -> Array:
    """Return the sums of products of all pairs of columns over each run, as `_gram` does over all rows."""
    products: Array = rows.sum(weights[:, None, None] * deviation[:, :, None] * deviation[:, None, :])
    diagonal = np.einsum("kii->ki", products)  # a view
    vanished = (diagonal == 0) & rows.any((deviation != 0) & (weights[:, None] > 0))
    diagonal[vanished] = SMALLEST
    return products


def _gram(deviation: Array) -> Array:
    """Return the products of all pairs of columns; the least double on the diagonal where all squares underflow."""
    xp, products = namespace(deviation), deviation.T @ deviation
    vanished = xp.linalg.diagonal(products) == 0
    if xp.any(vanished):  # nearly always constant features
        vanished = vanished & xp.any(deviation != 0, axis=0)
        if xp.any(vanished):
            diagonal = xp.eye(products.shape[0], dtype=xp.float64, device=device(products))
            products = products + diagonal * xp.astype(vanished, xp.float64) * SMALLEST
    return products
