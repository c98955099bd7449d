"""What models of power transforms hold: a statistic, given lambdas, and what further scans showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkscale.curves import PowerCurve
from sparkscale.display.html import Extent
from sparkscale.errors import InvalidValueError, ParamError, RangeOverflowError
from sparkscale.kernels.power import METHODS, Side, plain_sides
from sparkscale.scalers._curve import CurveModel
from sparkscale.scalers._missing import HasMissing
from sparkscale.scalers._model import Array
from sparkscale.scalers._params import P, param
from sparkscale.scalers._persistence import Content
from sparkscale.scalers._powers import Refined, refined
from sparkscale.spark import gpu, storage
from sparkscale.spark.columns import as_fitted, resolve, temp_column_name
from sparkscale.spark.expression import Bounds
from sparkscale.spark.fit.scan import summarize
from sparkscale.spark.transform.apply import Plan, slices_of, transform
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.power import Power
from sparkscale.spark.transform.vectors import without_mask
from sparkscale.statistics import BoxCoxMoments, Likelihood, Mergeable, Moments, PowerMoments, YeoJohnsonMoments

__all__ = ["HasPower", "PowerModel"]

M = TypeVar("M", bound="PowerModel")

STATISTICS: Mapping[str, type[PowerMoments]] = dict(zip(METHODS, (YeoJohnsonMoments, BoxCoxMoments), strict=True))
MOST_MEANS, MOST_POWER = 1e4, 300.0  # up to which subtracting the mean last neither overflows nor loses digits
LARGEST_POWER = 709.0  # whose exponential is a double


class HasPower(HasMissing):
    """Params of power transforms."""

    method = param("method", "the transform. 'yeo-johnson': of any values; 'box-cox': of positive values", str)
    standardize = param("standardize", "standardize the transformed values to mean 0 and variance 1", bool)

    _defaults = {"method": "yeo-johnson", "standardize": True}
    _choices = {"method": METHODS}

    def getMethod(self) -> str:
        """Return ``method``."""
        return self.getOrDefault(self.method)

    def getStandardize(self) -> bool:
        """Return ``standardize``."""
        return self.getOrDefault(self.standardize)

    def setMethod(self: P, value: str) -> P:
        """Set ``method``."""
        return self._set(method=value)

    def setStandardize(self: P, value: bool) -> P:
        """Set ``standardize``."""
        return self._set(standardize=value)

    @property
    def _statistic_class(self) -> type[PowerMoments]:
        return STATISTICS[self.getMethod()]


class PowerModel(HasPower, CurveModel[PowerMoments]):  # type: ignore[misc]  # the statistic depends on a Param
    """Base of the model of power transforms."""

    def __init__(self) -> None:
        super().__init__()
        self._fixed: Array | None = None  # lambdas that were given to fit
        self._refined: Refined | None = None
        self._computed: dict[bool, Mapping[str, Array]] = {}  # with ``standardize``, and without

    def hasParam(self, paramName: str) -> bool:
        """Return whether there is a Param; ``lambdas`` is one of the estimator, and here an attribute."""
        return paramName != "lambdas" and super().hasParam(paramName)

    def _learn(self, columns: Any, learned: Any, *, skips: bool) -> None:
        same = learned is self._learned
        super()._learn(columns, learned, skips=skips)
        self._computed, self._refined = {}, self._refined if same else None

    def _check_params(self) -> None:
        super()._check_params()
        if isinstance(self._learned, PowerMoments) and not isinstance(self._learned, self._statistic_class):
            raise self._fail(f"method is {self.getMethod()!r}, and fit used the other one. Set it back, or fit again.")

    def _numbers_of(self, statistic: PowerMoments) -> Mapping[str, Array]:
        key = self.getStandardize()
        if key not in self._computed:
            self._computed[key] = self._compute(statistic)
        return self._computed[key]

    def _compute(self, statistic: PowerMoments) -> Mapping[str, Array]:
        self._check_positive(statistic)
        likelihood = Likelihood(statistic)
        lambdas, outside = self._lambdas(likelihood)
        form = likelihood.standardized(lambdas)
        more = self._refined or Refined(lambdas, np.zeros_like(lambdas), np.ones_like(lambdas))
        with np.errstate(all="ignore"):
            std = np.exp(form.log_std)
            mean, std = (np.where(outside, np.nan, a) for a in (form.mean + std * more.mean, std * more.std))
            factor = form.factor / more.std[:, None]
            offset = (form.offset - more.mean[:, None]) / more.std[:, None]
            u = np.where(statistic.number > 0, statistic.high, 1.0 - statistic.shift) + statistic.shift
            power = np.max(form.exponent * np.log(u), axis=1)
            is_plain = (np.abs(mean) <= MOST_MEANS * std) & (np.abs(power) < MOST_POWER) & (std > 0) & np.isfinite(std)
        return {
            "lambdas": lambdas,
            "mean": mean,
            "std": std,
            "exponent": form.exponent,
            "origin": form.origin,
            "factor": factor,
            "offset": offset,
            "plain": is_plain.astype(np.float64),
            "power": power,
            "constant": likelihood.constant.astype(np.float64),
        }

    def _check_positive(self, statistic: PowerMoments) -> None:
        """Refuse values that have no Box-Cox transform."""
        refused = (statistic.min <= 0) & (statistic.shift == 0)
        if refused.any():
            place = int(np.flatnonzero(refused)[0])
            raise InvalidValueError(
                f"{type(self).__name__}: {self._names(refused, 1)[0]!r} holds {statistic.min[place]}, and Box-Cox transforms "
                "are of positive values. Leave it out, or set method to 'yeo-johnson'."
            )

    def _lambdas(self, likelihood: Likelihood) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return lambdas, given or the best, and which of them are given but too large for the moments of their results."""
        if self._refined is not None:
            return self._refined.lambdas, np.zeros(len(likelihood.count), dtype=bool)
        low, high = likelihood.bounds
        lambdas = likelihood.best() if self._fixed is None else self._fixed
        outside = ~((lambdas >= low) & (lambdas <= high)) & (likelihood.count > 0)
        if outside.any() and (self._fixed is None or self.getStandardize()):
            raise self._outside(
                outside,
                f"inside of {low[outside][0]:.4g} to {high[outside][0]:.4g}, which statistics show. Fit on a DataFrame of all "
                "rows, which looks further",
            )
        return lambdas, outside

    def _outside(self, which: npt.NDArray[np.bool_], where: str) -> ParamError:
        names = ", ".join(map(repr, self._names(which, 5)))
        return self._fail(f"lambda of {names} is not {where}, give lambdas, or leave the column out.")

    def _complete(self, dataset: DataFrame, lambdas: Array | None) -> None:
        """Find lambdas outside of the grid, with the mean and variance of their results, by further scans."""
        self._fixed = lambdas
        statistic = self.statistics
        self._check_positive(statistic)
        likelihood = Likelihood(statistic)
        low, high = likelihood.bounds
        best = likelihood.best() if lambdas is None else lambdas
        shown = (best >= low) & (best <= high) & ~likelihood.wide
        if (shown | (likelihood.count == 0)).all():
            return
        columns = as_fitted(resolve(dataset, self._input_names()), self._renamed())
        found = refined(likelihood, lambdas, lambda values: self._scan(dataset, columns, likelihood, values))
        missing = np.isnan(found.lambdas)
        if missing.any():
            raise self._outside(missing, "within reach: its values hardly differ beside 1. Multiply them by a number")
        self._refined, self._computed = found, {}

    def _scan(self, dataset: DataFrame, columns: Any, likelihood: Likelihood, values: Array) -> Sequence[Moments]:
        """Return the moments of standardized transforms for several lambdas of each feature.

        Columns whose lambdas are all the same are left out, unless there is one lambda only.
        """
        policy = "skip" if self._skips else "keep"
        slices, features = slices_of(columns), values.shape[1]
        whole = len(values) == 1 or self._skips  # rows are skipped by all columns
        read = [k for k, s in enumerate(slices) if whole or (values[:, s] != values[0, s]).any()]
        dataset, inputs = without_mask(dataset, [columns[k] for k in read])
        plans, outputs = [], []
        for lambdas in values:
            of_all: Any = Power(self._curve(likelihood.standardized(lambdas)))
            results = [replace(c.output(temp_column_name()), single=False) for c in inputs]
            plans.append(Plan(inputs, results, [of_all.part(slices[k]) for k in read], policy))
            outputs += results
        mapped, device = transform(dataset, *plans), gpu.effective_device(self.getDevice(), dataset.sparkSession)
        summary = summarize(mapped, outputs, Moments, device=device)
        if summary is None:
            raise self._fail("the DataFrame has no rows any more. Cache it, or fit again.")
        statistic: Any = summary.statistic
        which = np.concatenate([np.arange(features)[slices[k]] for k in read])
        places = np.full(features, len(which))  # of what is not read
        places[which] = np.arange(len(which))
        nothing = Moments.missing(1, 0)
        return [Moments.concat([m, nothing]).take(places) for m in statistic.split([len(which)] * len(values))]

    def _curve(self, form: Any) -> PowerCurve:
        arrays = {name: np.asarray(getattr(form, name)) for name in PowerCurve.names()}
        return PowerCurve(False, self._statistic_class.shift, **arrays)

    def _numbers_given(self, given: Mapping[str, Array]) -> Mapping[str, Array]:
        one = np.ones(len(given["lambdas"]))
        return {**given, "plain": one, "power": 0.0 * one, "constant": (given.get("std", one) == 0).astype(np.float64)}

    def _map(self) -> Any:
        numbers = self._numbers
        sides = plain_sides(numbers["lambdas"], self.getMethod())
        if not self.getStandardize():
            over = (numbers["power"] > LARGEST_POWER) & ~self._empty
            if over.any():
                raise RangeOverflowError(
                    f"{type(self).__name__}: the transform of {', '.join(map(repr, self._names(over, 5)))} is not representable "
                    "as a double. Set standardize=True, or drop the column."
                )
            return self._known(PowerCurve.of(sides))
        mean, std = self._needed("mean"), self._needed("std")
        std = np.where(std > 0, std, 1.0)
        with np.errstate(all="ignore"):
            curve = PowerCurve.of([_standardized(side, mean, std) for side in sides])
        if np.all(numbers["plain"] == 1):
            return self._known(curve)
        is_plain = numbers["plain"][:, None] == 1
        chosen: dict[str, Any] = {n: np.where(is_plain, array, numbers[n]) for n, array in curve.arrays().items()}
        return self._known(replace(curve, **chosen))

    def _known(self, curve: PowerCurve) -> PowerCurve:
        """Return the curve with NaN for features without a valid value; refuse factors that overflow."""
        over = ~np.isfinite(curve.factor).all(axis=1) & ~self._empty
        if over.any():
            raise RangeOverflowError(
                f"{type(self).__name__}: the std of {', '.join(map(repr, self._names(over, 5)))} is too small to divide by."
            )
        return replace(curve, factor=np.where(self._empty[:, None], np.nan, curve.factor))

    def _column_map(self, fitted: Any, bounds: Bounds = None, fill: Array | None = None) -> ColumnMap:
        return Power(fitted, fill)

    def _center(self) -> Array:
        """Return what maps to the mean of the results."""
        mean = np.zeros(self.numFeatures) if self.getStandardize() else self._needed("mean")
        center: Array = self._map().inverse().apply(mean)
        return center

    def _spread(self) -> Array:
        return 1.0 - self._numbers["constant"]

    def _extent(self) -> Extent:
        statistic = self._source
        if not isinstance(statistic, PowerMoments):
            nothing = np.full(self.numFeatures, np.nan)
            return Extent(nothing, nothing, nothing)
        ends = [statistic.high[:, 0]] if statistic.shift == 0 else [statistic.high[:, 0], -statistic.low[:, 1]]
        return Extent(self._seen(statistic.min), self._seen(np.max(ends, axis=0)), self._seen(self._center()))

    def _seen(self, values: Array) -> Array:
        return np.where(self._empty, np.nan, values)

    def _learned_values(self) -> dict[str, Any]:
        return {name: self._shown(name) for name in ("lambdas", "mean", "std")}

    def _merged(self, others: Sequence[Any]) -> None:
        for other in others:
            if not np.array_equal(other._fixed, self._fixed) if self._fixed is not None else other._fixed is not None:
                raise self._fail("the models were fitted with different lambdas. Fit with the same ones to merge.")

    def _saved(self) -> tuple[dict[str, Any], Content | None]:
        extra, statistic = super()._saved()
        extra["powers"] = self.getMethod()
        if self._fixed is not None:
            extra["lambdas"] = self._fixed.tolist()
        if self._refined is not None:
            extra["refined"] = self._refined.to_json()
        return extra, statistic

    @classmethod
    def _saved_class(cls, extra: Mapping[str, Any]) -> type[Mergeable] | None:
        if "given" in extra:
            return None
        method = storage.typed_entry(extra, "powers", str)
        if method not in STATISTICS:
            raise storage.MalformedError(f"powers is {method!r}, not one of {', '.join(METHODS)}")
        return STATISTICS[method]

    def _restore(self, extra: Mapping[str, Any], statistic: Any) -> None:
        super()._restore(extra, statistic)
        if "lambdas" in extra:
            self._fixed = np.array(storage.typed_entry(extra, "lambdas", list), dtype=np.float64)
        if "refined" in extra:
            self._refined = Refined.from_json(storage.typed_entry(extra, "refined", dict), len(self._source))


def _standardized(side: Side, mean: Array, std: Array) -> Side:
    return replace(side, factor=side.factor / std, offset=(side.offset - mean) / std)
