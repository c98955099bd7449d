"""The affine map, without Spark."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sparkscale.affine import AffineMap, MatrixMap
from sparkscale.errors import SizeMismatchError
from strategies import EPS, SUBNORMAL

pytestmark = pytest.mark.core

NUMBERS = st.floats(-1e6, 1e6)
VALUES = arrays(np.float64, 4, elements=NUMBERS)
SCALES = arrays(np.float64, 4, elements=st.floats(1e-6, 1e6))


@st.composite
def maps(draw: st.DrawFn) -> AffineMap:
    return AffineMap(draw(VALUES), draw(SCALES), draw(VALUES))


@given(m=maps(), x=arrays(np.float64, (3, 4), elements=NUMBERS))
def test_apply_is_the_divisor_form(m: AffineMap, x: np.ndarray) -> None:
    """y = (x - center) / scale + offset, in this order."""
    np.testing.assert_array_equal(m.apply(x), (x - m.center) / m.scale + m.offset)


@given(m=maps(), x=arrays(np.float64, (3, 4), elements=NUMBERS))
def test_inverse_undoes(m: AffineMap, x: np.ndarray) -> None:
    """Going there and back is the identity up to rounding."""
    back = m.inverse().apply(m.apply(x))

    allowed = 4 * EPS * (np.abs(m.offset) * m.scale + np.abs(m.center) + np.abs(x))
    assert np.all(np.abs(back - x) <= allowed + 4 * SUBNORMAL * (1 + m.scale))


@given(m=maps())
def test_inverse_of_inverse_is_the_map(m: AffineMap) -> None:
    """Nothing is lost by inverting twice."""
    assert m == m.inverse().inverse()


def test_inverse_multiplies() -> None:
    """The inverse holds the same scale, not its rounded reciprocal."""
    m = AffineMap([1.0], [3.0], [2.0])

    assert AffineMap([2.0], [3.0], [1.0], divides=False) == m.inverse()
    assert [[7.0]] == m.inverse().apply([[4.0]]).tolist()


def test_min_max_ends_are_exact() -> None:
    """The ends of a range map to the ends of the target, where x * k + b would miss one."""
    m = AffineMap([0.1], [0.7 - 0.1], [0.0])

    assert [[0.0], [1.0]] == m.apply([[0.1], [0.7]]).tolist()


def test_infinite_scale_collapses() -> None:
    """Every finite value of a collapsed feature maps to its offset."""
    m = AffineMap([5.0, 0.0], [np.inf, np.inf], [0.5, 0.0])

    assert [[0.5, 0.0], [0.5, 0.0], [0.5, 0.0]] == m.apply([[5.0, 0.0], [-1e308, 3.0], [7.0, -2.0]]).tolist()


def test_inverse_of_a_collapse_is_its_center() -> None:
    """A collapsed feature comes back as the constant it was; inverted twice it collapses again."""
    m = AffineMap([5.0], [np.inf], [0.5])

    assert [[5.0], [5.0]] == m.inverse().apply([[0.5], [123.0]]).tolist()
    assert m == m.inverse().inverse()


@pytest.mark.parametrize("m", [AffineMap([1.0], [2.0], [0.5]), AffineMap([1.0], [2.0], [0.5]).inverse()])
def test_nan_and_infinity_pass(m: AffineMap) -> None:
    """NaN stays NaN and an infinity keeps its sign."""
    np.testing.assert_array_equal(m.apply([[np.nan], [np.inf], [-np.inf]]), [[np.nan], [np.inf], [-np.inf]])


def test_nan_parameters_give_nan() -> None:
    """A feature without a learned value maps to NaN, and so does its inverse."""
    m = AffineMap([np.nan, 0.0], [np.nan, 1.0], [np.nan, 0.0])

    np.testing.assert_array_equal(m.apply([[1.0, 1.0]]), [[np.nan, 1.0]])
    np.testing.assert_array_equal(m.inverse().apply([[1.0, 1.0]]), [[np.nan, 1.0]])


def test_apply_takes_any_shape() -> None:
    """One row, many rows, lists, integers and single precision all come out as doubles of their shape."""
    m = AffineMap([1.0, 2.0], [2.0, 4.0], [0.0, 1.0])

    assert [0.5, 1.5] == m.apply([2, 4]).tolist()
    assert (3, 5, 2) == m.apply(np.ones((3, 5, 2), dtype=np.float32)).shape
    assert np.float64 == m.apply(np.ones((1, 2), dtype=np.float32)).dtype


@given(m=maps(), start=st.integers(0, 4), stop=st.integers(0, 4))
def test_a_slice_maps_its_features(m: AffineMap, start: int, stop: int) -> None:
    """A slice of a map is the map of a slice, whichever way it goes."""
    x = np.arange(4.0)
    part = slice(start, stop)

    np.testing.assert_array_equal(m[part].apply(x[part]), m.apply(x)[part])
    np.testing.assert_array_equal(m.inverse()[part].apply(x[part]), m.inverse().apply(x)[part])
    assert len(x[part]) == len(m[part])


@pytest.mark.parametrize(
    ("center", "scale", "offset", "expected"),
    [
        ([0.0, 0.0], [2.0, 3.0], [0.0, 0.0], True),
        ([0.0, 1.0], [2.0, 3.0], [0.0, 0.0], False),
        ([0.0, 0.0], [2.0, 3.0], [0.0, 1.0], False),
        ([2.0], [2.0], [1.0], True),
        ([2.0], [np.inf], [0.0], True),
        ([2.0], [np.inf], [0.5], False),
        ([np.nan], [np.nan], [np.nan], False),
        ([], [], [], True),
    ],
)
def test_map_keeps_zero_if_each_feature_does(
    center: list[float], scale: list[float], offset: list[float], expected: bool
) -> None:
    """A map keeps zero if each feature maps 0 to 0, so that what is sparse stays sparse."""
    assert expected is AffineMap(center, scale, offset).keeps_zero


@given(m=maps(), x=arrays(np.float64, (3, 4), elements=NUMBERS))
def test_the_identity_changes_nothing(m: AffineMap, x: np.ndarray) -> None:
    """Exactly, also when concatenated with another map."""
    both = AffineMap.concat([AffineMap.identity(4), m])

    np.testing.assert_array_equal(AffineMap.identity(4).apply(x), x)
    assert (both[:4], both[4:]) == (AffineMap.identity(4), m)


def test_concatenated_maps_divide_if_all_do() -> None:
    """Concatenating no maps gives a map without features."""
    m = AffineMap([1.0], [2.0], [3.0])

    assert AffineMap.concat([m, m]).divides
    assert not AffineMap.concat([m.inverse(), m.inverse()]).divides
    assert len(AffineMap.concat([])) == 0


def test_matrix_maps_have_length_and_equality() -> None:
    """Equality compares all fields."""
    fields = {"center": [1.0, 2.0], "matrix": np.eye(2), "back": np.eye(2), "offset": [0.0, 0.0]}
    m = MatrixMap(**fields)

    assert len(m) == 2
    assert m == MatrixMap(**fields)
    assert m != AffineMap.identity(2)
    for name, value in fields.items():
        assert m != MatrixMap(**fields | {name: np.add(value, 1.0)}), name


def test_equality_compares_all_fields() -> None:
    """Maps are equal if center, scale, offset and direction are; NaN equals NaN."""
    m = AffineMap([1.0], [2.0], [3.0])

    assert AffineMap([1.0], [2.0], [3.0]) == m
    assert AffineMap([np.nan], [np.nan], [np.nan]) == AffineMap([np.nan], [np.nan], [np.nan])
    for other in (
        AffineMap([9.0], [2.0], [3.0]),
        AffineMap([1.0], [9.0], [3.0]),
        AffineMap([1.0], [2.0], [9.0]),
        AffineMap([1.0], [2.0], [3.0], divides=False),
        AffineMap([1.0, 1.0], [2.0, 2.0], [3.0, 3.0]),
        "map",
    ):
        assert m != other


def test_a_map_cannot_be_changed() -> None:
    """The parts are read-only copies: neither they nor the arrays they came from reach the map."""
    source = np.array([1.0])
    m = AffineMap(source, source, source)
    source[0] = 7.0

    assert (1.0, 1.0, 1.0) == (m.center[0], m.scale[0], m.offset[0])
    for part in (m.center, m.scale, m.offset):
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 0.0
    with pytest.raises(AttributeError):
        m.center = source  # type: ignore[misc]


def test_apply_leaves_its_argument() -> None:
    """Rows are read, not written."""
    x = np.array([[1.0], [2.0]])
    x.flags.writeable = False

    AffineMap([1.0], [2.0], [3.0]).apply(x)

    assert [[1.0], [2.0]] == x.tolist()


def test_maps_do_not_hash() -> None:
    """Arrays do not hash, so neither does a map."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(AffineMap([1.0], [2.0], [3.0]))


def test_maps_and_statistics_are_imported_without_spark() -> None:
    """Serving code has no Spark: only the scalers import it."""
    code = """
import sys
sys.modules["pyspark"] = None  # importing it fails
from sparkscale import __version__, affine, statistics
try:
    from sparkscale import MinMaxScaler
except ImportError:
    print("only scalers need it")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "only scalers need it"


@pytest.mark.parametrize("shape", [(), (3,), (1,), (2, 1), (2, 3)])
def test_rows_of_another_length_are_refused(shape):
    """They would be broadcast. A map of one feature takes values of any shape."""
    of_two = AffineMap(np.zeros(2), np.ones(2), np.zeros(2))
    of_matrix = MatrixMap(np.zeros(2), np.eye(2), np.eye(2), np.zeros(2))

    for affine in (of_two, of_matrix):
        with pytest.raises(SizeMismatchError, match=r"rows of 2 features in the last axis. Got an array of shape \("):
            affine.apply(np.ones(shape))
    assert of_two[:1].apply(np.ones(shape)).shape == (shape or (1,))
