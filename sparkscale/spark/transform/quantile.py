"""Ranks among quantiles: NumPy on Arrow batches, and SQL text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparkscale.kernels import _normal as normal
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import array_literal, let, literal, parameter
from sparkscale.spark.transform.curved import Curved
from sparkscale.spark.transform.key_maps import ByKey

__all__ = ["Quantile", "QuantileByKey"]


@dataclass(frozen=True)
class Lookup:
    """The quantiles of a feature in SQL.

    Parameters
    ----------
    quantiles : str
        An array of quantiles.
    start : str
        The place of the first quantile of the feature.
    last : str
        The place of its last quantile, counted from the first.
    number : int
        The number of quantiles of each feature.
    is_normal : bool
        Whether results are normal values.
    """

    quantiles: str
    start: str
    last: str
    number: int
    is_normal: bool

    def mapped(self, x: str, *, inverts: bool) -> str:
        """Return the rank or normal value of a double, or of the inverse the value; null and NaN stay."""
        body = self._value("v") if inverts else self._result("v")
        empty = f"isnan({self._at('0')})"
        return let("v", x, f"CASE WHEN v IS NULL OR isnan(v) THEN v WHEN {empty} THEN double('NaN') ELSE {body} END")

    def _at(self, place: str) -> str:
        return f"get({self.quantiles}, {self.start} + {place})"

    def _result(self, v: str) -> str:
        rank = self._rank(v)
        return let("p", rank, _normal_value("p")) if self.is_normal else rank

    def _rank(self, v: str) -> str:
        """Return the rank of a value; of one that is equal to several quantiles, the mean of theirs."""
        last = f"({self.last})"
        below, up_to = self._search(v, "<"), self._search(v, "<=")
        # Halves, since a difference may overflow; differences of the smallest doubles lose their last bit.
        low, high = (f"{self._at(place)} / 2" for place in ("j - 1", "j"))
        between = f"j - 1 + ({v} / 2 - {low}) / ({high} - {low})"
        place = let("j", below, f"CASE WHEN {self._at('j')} = {v} THEN (j + {up_to} - 1) / 2 ELSE {between} END")
        return (
            f"CASE WHEN {v} <= {self._at('0')} THEN 0D WHEN {v} >= {self._at(last)} THEN 1D ELSE {place} / {last} END"
        )

    def _search(self, v: str, compares: str) -> str:
        """Return how many quantiles compare with a value, by a binary search."""
        steps = ", ".join(str(1 << k) for k in reversed(range(self.number.bit_length())))
        goes_on = f"n + d <= {self.number} AND {self._at('n + d - 1')} {compares} {v}"
        return f"aggregate(array({steps}), 0, (n, d) -> CASE WHEN {goes_on} THEN n + d ELSE n END)"

    def _value(self, v: str) -> str:
        """Return the value of a rank or normal value."""
        last = f"({self.last})"
        place = f"greatest(least(int(floor(p * {last})), int({last}) - 1), 0)"
        between = let("j", place, f"{self._at('j')} * (1 - (p * {last} - j)) + {self._at('j + 1')} * (p * {last} - j)")
        inside = f"CASE WHEN p <= 0 THEN {self._at('0')} WHEN p >= 1 THEN {self._at(last)} ELSE {between} END"
        return let("p", _probability(v) if self.is_normal else v, inside)


@dataclass(frozen=True, eq=False)
class Quantile(Curved):
    """Ranks among quantiles, or the normal values of these, or the inverse.

    On 10 scalars of 2,000,000 rows, NumPy takes 0.8 times as long as a binary search in SQL, in ten columns for ten steps.
    """

    def prefers_kernel(self, column: FeatureColumn) -> bool:
        """See `ColumnMap`."""
        return True

    def text(self, x: str, index: str) -> str:
        """See `Curved`."""
        number = self.curve.quantiles.shape[1]
        start = "0" if index == "0" else f"{index} * {number}"
        quantiles, last = array_literal(self.curve.quantiles.ravel()), f"int({parameter(self.curve.last, index)})"
        lookup = Lookup("k", start, last, number, self.curve.normal)
        # The value first, whose column may have any name.
        return let("w", x, let("k", quantiles, lookup.mapped("w", inverts=self.curve.inverts)))


@dataclass(frozen=True, eq=False)
class QuantileByKey(ByKey):
    """Ranks among the quantiles of the row's key, or the normal values of these, or the inverse.

    Parameters
    ----------
    number : int
        The number of quantiles of each entry.
    is_normal : bool
        Whether results are normal values.
    """

    number: int = 0
    is_normal: bool = False

    def _mapped(self, x: str, feature: str) -> str:
        start, last = f"({self._place(feature)}) * {self.number}", f"int({self._number('last', feature)})"
        lookup = Lookup(self.joined.columns["quantiles"], start, last, self.number, self.is_normal)
        return lookup.mapped(f"double({x})", inverts=self.inverts)


def _normal_value(rank: str) -> str:
    """Return the normal value of a rank."""
    low, high = literal(normal.PROBABILITY), literal(1.0 - normal.PROBABILITY)
    bounded = f"CASE WHEN {rank} < {low} THEN {low} WHEN {rank} > {high} THEN {high} ELSE {rank} END"
    q = "(b - 0.5D)"
    central = f"{q} * {_ratio(f'({normal.CENTER}D - {q} * {q})', normal.CENTRAL)}"
    tail = let("r", f"sqrt(-ln(least(b, 1D - b))) - {normal.SHIFT}D", _ratio("r", normal.TAIL))
    value = f"CASE WHEN abs{q} <= {normal.HALF}D THEN {central} WHEN b < 0.5D THEN -({tail}) ELSE {tail} END"
    return let("b", bounded, value)


def _ratio(x: str, coefficients: normal.Ratio) -> str:
    """Return the ratio of two polynomials."""
    above, below = (_polynomial(x, c) for c in coefficients)
    return f"{above} / {below}"


def _polynomial(x: str, coefficients: Sequence[float]) -> str:
    value = literal(coefficients[0])
    for coefficient in coefficients[1:]:
        value = f"({value} * {x} + {literal(coefficient)})"
    return value


def _probability(x: str) -> str:
    """Return the probability of a normal value."""
    limit = literal(normal.LIMIT)
    body = f"0.5D + {x} * {_ratio(f'({x} * {x})', normal.BODY)}"
    far = f"exp(-0.5D * {x} * {x}) * {_ratio(f'abs({x})', normal.FAR)}"
    return (
        f"CASE WHEN {x} <= -{limit} THEN 0D WHEN {x} >= {limit} THEN 1D WHEN abs({x}) <= {normal.NEAR}D THEN {body} "
        f"WHEN {x} < 0 THEN {far} ELSE 1D - {far} END"
    )
