"""Quantizer: codes, what they stand for, and what becomes of values that have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyspark.sql import functions as F

from frames import INF, NAN, cells, frame
from models import learned, with_params
from scans import Partitions, fit
from sparkscale import Quantizer, QuantizerModel, RobustScaler
from sparkscale.errors import InvalidValueError, ParamError, RangeOverflowError, SizeMismatchError
from sparkscale.kernels import dequantize, quantize
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Extrema, Quantiles
from store import Store

ROWS = np.column_stack([np.linspace(-1.0, 4.1, 101), np.full(101, 7.0), np.append(np.arange(100.0), -1e4)])
EACH = [("int8", "affine"), ("uint8", "affine"), ("int8", "symmetric")]
each_code = pytest.mark.parametrize(("dtype", "scheme"), EACH, ids=["int8", "uint8", "symmetric"])
ENDS = st.floats(-1e300, 1e300, allow_subnormal=False) | st.integers(-9, 9).map(float)


def model(**params: Any) -> QuantizerModel:
    """Return a model of a feature in a usual range, a constant, and one with an outlier."""
    return with_params(learned(QuantizerModel(), ROWS, "s0", "s1", "s2"), **params)


def of_quantiles(rows: Any = ROWS, **params: Any) -> QuantizerModel:
    """Return a model that holds quantiles."""
    return fit(
        Quantizer(inputCols=["s0", "s1", "s2"], lower=0.05, upper=0.95, **params),
        Partitions([rows.tolist()], features=3),
    )


def plain(x: np.ndarray, low: Any, high: Any, dtype: str, scheme: str) -> np.ndarray:
    """Return codes as the formula has them."""
    if scheme == "symmetric":
        return np.clip(np.rint(x / (np.maximum(abs(low), abs(high)) / 127)), -127, 127)
    least, largest = (0, 255) if dtype == "uint8" else (-128, 127)
    return np.clip(np.rint((x - low) / ((high - low) / 255) + least), least, largest)


# --- the kernels -----------------------------------------------------------------------------------------------


@st.composite
def values_in_ranges(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return ranges, of which some are a single value, and values from end to end."""
    ranges = np.sort(draw(arrays(np.float64, (2, 4), elements=ENDS)), axis=0)
    share = draw(arrays(np.float64, (9, 4), elements=st.floats(0, 1)))
    low, high = ranges
    return ranges, np.clip(low + (high / 2 - low / 2) * share * 2, low, high)


@each_code
@given(data=values_in_ranges())
def test_a_value_in_range_comes_back_within_the_bound(
    dtype: str, scheme: str, data: tuple[np.ndarray, np.ndarray]
) -> None:
    """Half a step, and some rounding; the bound of a model is not exceeded."""
    ranges, x = data
    try:
        bound = QuantizerModel.of(inputCol="a", ranges=ranges, dtype=dtype, scheme=scheme).errorBound.toArray()
    except RangeOverflowError:
        with pytest.raises(RangeOverflowError):
            quantize(x, ranges, dtype=dtype, scheme=scheme)
        return

    codes = quantize(x, ranges, dtype=dtype, scheme=scheme)
    back = dequantize(codes, ranges, dtype=dtype, scheme=scheme)

    assert codes.dtype == np.dtype(dtype)
    assert np.all(np.abs(back - x) <= bound)
    largest = np.abs(ranges).max(axis=0)
    steps = 254 if scheme == "symmetric" else 255
    spread = 2 * largest if scheme == "symmetric" else ranges[1] - ranges[0]
    assert np.all(bound <= 0.5 * spread / steps + 1e-14 * largest)


@each_code
def test_codes_are_those_of_the_formula(dtype: str, scheme: str) -> None:
    """The ends of the range, and what lies beyond, get the ends of the codes."""
    x = np.random.default_rng(0).normal(1.0, 3.0, (1000, 2))
    ranges = np.array([[-4.0, 0.5], [5.0, 2.0]])
    codes = quantize(np.vstack([x, ranges, [[-INF] * 2, [INF] * 2]]), ranges, dtype=dtype, scheme=scheme)
    least, largest = {"int8": (-128, 127), "uint8": (0, 255)}[dtype]
    least = -127 if scheme == "symmetric" else least

    np.testing.assert_array_equal(codes[:1000], plain(x, *ranges, dtype, scheme))
    np.testing.assert_array_equal(codes[-2:], [[least] * 2, [largest] * 2])
    if scheme == "affine":
        np.testing.assert_array_equal(codes[1000:1002], [[least] * 2, [largest] * 2])
        np.testing.assert_allclose(dequantize(codes[1000:1002], ranges, dtype=dtype), ranges, rtol=1e-15)
    else:
        assert quantize([0.0, 0.0], ranges, scheme=scheme).tolist() == [0, 0]


def test_sentence_transformers_truncate() -> None:
    """The codes of ``quantize_embeddings`` differ by at most one."""
    x = np.random.default_rng(1).normal(size=(1000, 8)).astype(np.float32)
    ranges = np.vstack([x.min(axis=0), x.max(axis=0)])
    starts, steps = ranges[0, :], (ranges[1, :] - ranges[0, :]) / 255
    theirs = ((x - starts) / steps - 128).astype(np.int8)  # its code

    difference = quantize(x, ranges).astype(int) - theirs
    assert set(np.unique(difference)) == {0, 1, -1}
    assert np.all(difference[theirs > 0] >= 0)  # truncation is towards 0
    assert np.all(difference[theirs < 0] <= 0)


@each_code
def test_a_constant_comes_back(dtype: str, scheme: str) -> None:
    """From one code; of zeros in the symmetric scheme, too."""
    constant = 0.0 if scheme == "symmetric" else 0.1
    codes = quantize([constant, constant + 3.0, -5.0, INF, -INF], [[constant], [constant]], dtype=dtype, scheme=scheme)

    assert dequantize(codes, [[constant], [constant]], dtype=dtype, scheme=scheme).tolist() == [constant] * 5


def test_halves_are_rounded_to_even() -> None:
    assert quantize([0.5, 1.5, 2.5, 253.5], [[0.0], [255.0]], dtype="uint8").tolist() == [0, 2, 2, 254]


@pytest.mark.parametrize(
    ("error", "x", "ranges", "params"),
    [
        (InvalidValueError, [NAN], [[0.0], [1.0]], {}),
        (ParamError, [1.0], [[0.0], [1.0]], {"dtype": "int16"}),
        (ParamError, [1.0], [[0.0], [1.0]], {"scheme": "log"}),
        (ParamError, [1.0], [[0.0], [1.0]], {"dtype": "uint8", "scheme": "symmetric"}),
        (ParamError, [1.0], [0.0, 1.0], {}),
        (ParamError, [1.0], [[0.0], [1.0], [2.0]], {}),
        (ParamError, [1.0], [[2.0], [1.0]], {}),
        (ParamError, [1.0], [[NAN], [1.0]], {}),
        (RangeOverflowError, [1.0], [[-1e308], [1e308]], {}),
        (RangeOverflowError, [1.0], [[0.0], [1e-307]], {}),
        (SizeMismatchError, [1.0, 2.0, 3.0], [[0.0, 0.0], [1.0, 1.0]], {}),
    ],
)
def test_what_a_kernel_cannot_use_is_refused(error: type, x: Any, ranges: Any, params: dict[str, Any]) -> None:
    with pytest.raises(error):
        quantize(x, ranges, **params)
    if error is not InvalidValueError:
        with pytest.raises(error):
            dequantize(x, ranges, **params)


# --- the model -------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_ranges_are_extrema_by_default() -> None:
    """As an array of two rows, which makes the same model again."""
    fitted = model()
    again = QuantizerModel.of(inputCols=["s0", "s1", "s2"], ranges=fitted.ranges)

    np.testing.assert_array_equal(fitted.ranges, [ROWS.min(axis=0), ROWS.max(axis=0)])
    assert again.toSQL() == fitted.toSQL()
    assert again.errorBound == fitted.errorBound
    assert fitted.constantFeatures == ["s1"]
    assert fitted.errorBound[1] == 0.0


def test_ranges_of_scalars_and_arrays() -> None:
    """One entry for each column; and one number of a single feature."""
    model = QuantizerModel.of(inputCols=["x", "a"], ranges=[[0.0, [1.0, 2.0]], [1.0, [2.0, 5.0]]])
    assert model.ranges.tolist() == [[0.0, 1.0, 2.0], [1.0, 2.0, 5.0]]
    assert QuantizerModel.of(inputCol="x", ranges=(0, 255), dtype="uint8").affine.apply([7.0]).tolist() == [7.0]
    for broken in (3.0, [1.0], [[0.0], [1.0], [2.0]], [[1.0], [0.0]], [[0.0], [INF]]):
        with pytest.raises(ParamError):
            QuantizerModel.of(inputCol="x", ranges=broken)


def test_ranges_of_quantiles() -> None:
    """An outlier does not widen the steps."""
    fitted = of_quantiles(relativeError=0.0)
    assert fitted.ranges[:, 2].tolist() == [4.0, 94.0]
    assert fitted.errorBound[2] == pytest.approx(0.5 * 90 / 255)
    linear = with_params(fitted, interpolation="linear")
    np.testing.assert_allclose(linear.ranges, np.quantile(ROWS, [0.05, 0.95], axis=0))


def test_the_statistic_is_that_of_the_params() -> None:
    """Extrema suffice for the whole range; quantiles hold extrema, too, but not the reverse."""
    assert type(fit(Quantizer(inputCol="s0"), Partitions([[[1.0], [2.0]]], features=1)).statistics) is Extrema
    fitted = of_quantiles()
    assert isinstance(fitted.statistics, Quantiles)
    np.testing.assert_array_equal(with_params(fitted, lower=0.0, upper=1.0).ranges, model().ranges)
    with pytest.raises(ParamError, match="kept extrema only"):
        with_params(model(), lower=0.1).ranges  # noqa: B018


def test_models_of_quantiles_merge_and_are_saved() -> None:
    """The model of parts is that of all, and survives; models of two sorts of statistics do not merge."""
    one, two, both = (of_quantiles(rows) for rows in (ROWS[:50], ROWS[50:], ROWS))
    merged = one.merge(two)
    np.testing.assert_array_equal(merged.ranges, both.ranges)
    for name, stage in {"quantiles": merged, "extrema": model(), "inverse": merged.inverse()}.items():
        store = Store()
        stage.write().session(store).save(name)
        again = type(stage).read().session(store).load(name)
        assert again.map == stage.map
    with pytest.raises(ParamError, match="different statistics"):
        merged.merge(model())
    with pytest.raises(ParamError, match="different statistics"):
        model().merge(merged)


@pytest.mark.core
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scheme": "symmetric", "dtype": "uint8"}, "dtype"),
        ({"dtype": "int4"}, "dtype"),
        ({"scheme": "log"}, "scheme"),
        ({"lower": 0.9, "upper": 0.1}, "lower"),
        ({"fillInvalid": 0.5}, "fillInvalid"),
        ({"fillInvalid": -1.0, "dtype": "uint8"}, "fillInvalid"),
        ({"fillInvalid": -128.0, "scheme": "symmetric"}, "fillInvalid"),
        ({"relativeError": 2.0}, "relativeError"),
        ({"maskValue": -1.0}, "maskValue"),
    ],
    ids=str,
)
def test_bad_values_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamError, match=message):
        Quantizer(inputCol="x", **params)._check_params()


def test_a_range_that_is_no_double_is_refused() -> None:
    with pytest.raises(RangeOverflowError, match="'s0'"):
        fit(Quantizer(inputCol="s0"), Partitions([[[-1e308], [1e308]]], features=1))


def test_a_profile_may_hold_either_statistic() -> None:
    """It is fitted like another scaler of that statistic."""
    assert Quantizer(inputCol="x")._statistic_class is Extrema
    params = {"lower": 0.01, "relativeError": 0.01}
    assert Quantizer(inputCol="x", **params)._statistic_class is RobustScaler(inputCol="x", **params)._statistic_class


# --- on Spark --------------------------------------------------------------------------------------------------

NAMES = ["s0", "s1", "s2", "array", "dense", "sparse", "mixed"]
SPOILT = [[-1.0, 7.0, 50.0], [0.0, -3.0, 0.0], [None, NAN, INF], [-INF, INF, NAN], None, [99.0, 7.0, -1e6]]


def of_every_kind(**params: Any) -> QuantizerModel:
    columns = [FeatureColumn(n, "scalar", size=1) for n in NAMES[:3]]
    columns += [FeatureColumn(n, "array" if n == "array" else "vector", size=3) for n in NAMES[3:]]
    return with_params(learned(QuantizerModel(), np.hstack([ROWS] * 5), *columns), **params)


def expected(row: Any, low: Any, high: Any, dtype: str, scheme: str, fill: Any = None) -> Any:
    """Return the codes of a row; null and NaN have none."""
    if row is None:
        return None
    x = np.array([0.0 if v is None or np.isnan(v) else v for v in row])
    codes = quantize(x, [low, high], dtype=dtype, scheme=scheme).tolist()
    return [fill if v is None or np.isnan(v) else code for v, code in zip(row, codes, strict=True)]


def restored(codes: Any, low: Any, high: Any, dtype: str, scheme: str) -> Any:
    """Return what codes stand for."""
    values = dequantize([code or 0 for code in codes], [low, high], dtype=dtype, scheme=scheme).tolist()
    return [None if code is None else value for code, value in zip(codes, values, strict=True)]


@pytest.mark.core
@pytest.mark.settings
@pytest.mark.parametrize("device", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_transform_and_inverse(spark: Any, device: str) -> None:
    """Integers of each kind of column; null for null and NaN, never 0; infinities are clipped. The inverse gives doubles.

    The inverse reads integers and gives null for null; arrays for arrays, also of what were vectors.
    """
    df = frame(spark, SPOILT)
    low, high = ROWS.min(axis=0), ROWS.max(axis=0)
    results = df
    for dtype, scheme in EACH:
        ends = [f"{n}_{dtype}_{scheme}" for n in NAMES]
        one = of_every_kind(dtype=dtype, scheme=scheme, device=device).setOutputCols(ends)
        results = one.transform(results)
        backs = [f"{end}_back" for end in ends]
        results = one.inverseTransform(results, outputCols=backs)
    filling = of_every_kind(fillInvalid="center", addIndicator=True, device=device)
    results = filling.setOutputCols([f"{n}_filled" for n in NAMES]).transform(results)

    types = dict(results.dtypes)
    for dtype, scheme in EACH:
        name, number = f"{dtype}_{scheme}", "smallint" if dtype == "uint8" else "tinyint"
        assert [types[f"{n}_{name}"] for n in NAMES] == [number] * 3 + [f"array<{number}>"] * 4
        assert [types[f"{n}_{name}_back"] for n in NAMES] == ["double"] * 3 + ["array<double>"] * 4
    shown = [f"{n}_{dtype}_{scheme}{end}" for dtype, scheme in EACH for end in ("", "_back") for n in NAMES]
    shown += [f"{n}_{end}" for end in ("filled", "missing") for n in NAMES]
    rows = [dict(zip(shown, row, strict=True)) for row in cells(results, *shown)]

    def check(row: Any, end: str, wanted: Any, source: Any) -> None:
        assert [row[f"{n}{end}"] for n in NAMES[:3]] == ([None] * 3 if wanted is None else wanted)
        assert [row[f"{n}{end}"] for n in NAMES[3:]] == [wanted] * 4, source

    for row, source in zip(rows, SPOILT, strict=True):
        for dtype, scheme in EACH:
            codes = expected(source, low, high, dtype, scheme)
            check(row, f"_{dtype}_{scheme}", codes, source)
            check(row, f"_{dtype}_{scheme}_back", codes and restored(codes, low, high, dtype, scheme), source)
    middle = quantize(np.array([1.55, 7.0, -4950.5]), [low, high]).tolist()
    assert [row["array_filled"] for row in rows] == [
        source and [m if c is None else c for m, c in zip(middle, expected(source, low, high, *EACH[0]), strict=True)]
        for source in SPOILT
    ]
    assert rows[2]["s0_filled"] == middle[0]
    assert rows[4]["s0_filled"] == middle[0]
    assert rows[3]["sparse_missing"] == [0, 0, 1]


@pytest.mark.core
@pytest.mark.parametrize("device", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_many_inputs_become_one_array(spark: Any, device: str) -> None:
    """And come back; a feature without any valid value has no code, and is NaN in a vector that comes back."""
    columns = [FeatureColumn("s0", "scalar", size=1), FeatureColumn("dense", "vector", size=3)]
    rows = np.column_stack([ROWS[:, 0], ROWS[:, 0], ROWS[:, 1], np.full(len(ROWS), NAN)])
    one = with_params(learned(QuantizerModel(), rows, *columns), outputCol="q", device=device)
    df = frame(spark, [[-1.0, 7.0, INF], [None, 7.0, 1.0], None]).select("id", "s0", "dense")
    coded = one.transform(df).select("id", "q")

    assert dict(coded.dtypes)["q"] == "array<tinyint>"
    assert cells(coded, "q") == [[[-128, -128, -128, None]], [[None, None, -128, None]], [[None] * 4]]
    assert list(one.toSQL()) == ["q"]
    back = cells(one.inverseTransform(coded), "s0", "dense")
    assert [back[0][0], back[1][0]] == [-1.0, None]
    np.testing.assert_array_equal(back[1][1], [NAN, 7.0, NAN])


@pytest.mark.core
def test_invalid_values_are_refused_or_skipped(spark: Any) -> None:
    """As by other scalers, with failures in the type of the codes."""
    df = frame(spark, [[0.0, 7.0, 5.0], [INF, 7.0, 5.0]])
    names = ["s0", "array", "dense"]
    for policy in ("error", "keepNaN"):
        coded = of_every_kind(handleInvalid=policy).transform(df)
        for name in names:
            with pytest.raises(Exception, match="holds Infinity, which handleInvalid"):
                coded.select(f"{name}_scaled").collect()
    assert of_every_kind(handleInvalid="skip").transform(df).count() == 1
    with pytest.raises(Exception, match="Column 'array' holds a row of length 1"):
        of_every_kind().transform(df.withColumn("array", F.array("s0"))).select("array_scaled").collect()


@pytest.mark.core
def test_columns_of_other_types(spark: Any) -> None:
    """Floats, decimals, integers and booleans, of which the least integer has no absolute value in its own type."""
    text = "float(1.5) AS f, -2147483648 AS i, cast(2.5 AS decimal(5, 2)) AS d, true AS b, array(1, NULL) AS w"
    names = ["f", "i", "d", "b", "w"]
    columns = [FeatureColumn(n, "scalar", size=1) for n in names[:4]] + [FeatureColumn("w", "array", size=2)]
    ranges = [[0.0] * 6, [255.0] * 6]
    one = with_params(learned(QuantizerModel(), ranges, *columns), dtype="uint8", addIndicator=True)
    row = one.transform(spark.sql(f"SELECT {text}")).first()

    assert [row[f"{n}_scaled"] for n in names] == [2, 0, 2, 1, [1, None]]
    assert row["w_missing"] == [0, 1]
