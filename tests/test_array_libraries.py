"""The kernels and statistics on arrays of any library: on another device, and where nothing may be written to."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import partial
from itertools import product
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
from array_api_compat import is_cupy_array

from conftest import has_gpu
from sparkscale import kernels
from sparkscale.affine import AffineMap, MatrixMap
from sparkscale.arrays import namespace
from sparkscale.blocks import DenseBlock
from sparkscale.curves import QuantileCurve
from sparkscale.spark.transform.rows import MaskedKernel
from sparkscale.statistics import CoMoments, Extrema, Moments, Squares

DEVICE = strict.Device("device1")  # NumPy cannot reach what is there


def on_device(x: Any) -> Any:
    return strict.asarray(x, dtype=strict.float64, device=DEVICE)


def on_gpu(x: Any) -> Any:
    import cupy

    return cupy.asarray(x)


def read_only(x: Any) -> Any:
    array = np.array(x)
    array.flags.writeable = False
    return array


def back(x: Any) -> Any:
    """Return an array, or several, as NumPy's; what is not on the device any more is refused."""
    if isinstance(x, tuple):
        return tuple(back(part) for part in x)
    if isinstance(x, np.ndarray | np.generic):
        return x
    if is_cupy_array(x):
        return x.get()
    assert x.device == DEVICE
    return np.asarray(x.to_device(strict.Device("CPU_DEVICE")))


KINDS = (Extrema, Squares, Moments, CoMoments)
PLACES = [pytest.param(on_device, id="device"), pytest.param(read_only, id="read-only")]
if has_gpu():
    PLACES.append(pytest.param(on_gpu, id="gpu", marks=pytest.mark.gpu))
each_library = pytest.mark.parametrize("place", PLACES)
ROWS = np.random.default_rng(0).normal(3.0, 2.0, (40, 6))
WEIGHTS = np.random.default_rng(1).random(40) + 0.1
GAINS = np.linspace(-1.0, 2.0, 6)


def spoilt(rows: Any) -> Any:
    """Return rows with NaN and infinities, and a feature of nothing else."""
    spoilt_rows = rows.copy()
    spoilt_rows[3, 1], spoilt_rows[5, 0], spoilt_rows[:, 2] = np.nan, -np.inf, np.inf
    return spoilt_rows


DATA = {
    "valid": ROWS,
    "invalid": spoilt(ROWS),
    "constant": np.ones((40, 6)),
    "large": ROWS * 1e100,
    "one row": ROWS[:1],
}


@each_library
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", KINDS)
def test_statistics_of_a_block_and_their_merge(kind: Any, data: str, place: Callable[[Any], Any]) -> None:
    """They stay on the device, and equal NumPy's up to rounding, merged or not."""
    rows = DATA[data]
    expected = kind.of(DenseBlock(rows))
    first, *others = (kind.of(DenseBlock(place(part))) for part in np.array_split(rows, 3) if len(part))

    for actual in (kind.of(DenseBlock(place(rows))), first.merge(*others)):
        for name in kind.names():
            if name not in {"origin", "shift"}:
                scale = np.nanmax(
                    np.abs(getattr(expected, name)), initial=0.0, where=np.isfinite(getattr(expected, name))
                )
                close(back(getattr(actual, name)), getattr(expected, name), atol=1e-13 * scale)
        if kind in (Moments, CoMoments):
            close(back(actual.origin + actual.shift), expected.mean)


def close(actual: Any, expected: Any, atol: float = 0.0) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=atol)


@each_library
@pytest.mark.parametrize("data", ["valid", "invalid"])
def test_weighted_moments(data: str, place: Callable[[Any], Any]) -> None:
    """Weights are on the device, too."""
    rows = DATA[data]
    expected, actual = Moments.of(DenseBlock(rows, WEIGHTS)), Moments.of(DenseBlock(place(rows), place(WEIGHTS)))

    for name in Moments.names():
        close(back(getattr(actual, name)), getattr(expected, name), atol=1e-15)


@each_library
@pytest.mark.parametrize("row_weights", [None, WEIGHTS * 1e-250], ids=["plain", "weighted"])
def test_tiny_moments(row_weights: Any, place: Callable[[Any], Any]) -> None:
    """If squares underflow, moments have units, which are on the device too."""
    rows = np.where(np.isnan(spoilt(ROWS)), np.nan, ROWS) * [1.0, 1e-200, 1e-200, 1e-300, 1.0, 1e-160]
    expected = Moments.of(DenseBlock(rows, row_weights))
    halves = (slice(0, 17), slice(17, None))
    first, second = (
        Moments.of(DenseBlock(place(rows[at]), None if row_weights is None else place(row_weights[at])))
        for at in halves
    )
    whole = Moments.of(DenseBlock(place(rows), None if row_weights is None else place(row_weights)))

    for statistic in (whole, first.merge(second)):
        moments = Moments(**{name: back(array) for name, array in statistic.arrays().items()})
        close(moments.std(0), expected.std(0))
        close(moments.mean, expected.mean)


@each_library
def test_tiny_co_moments(place: Callable[[Any], Any]) -> None:
    """What varies is not taken for a constant."""
    rows = ROWS * [1.0, 1e-200, 0.0, 1e-300, 1.0, 1e-160]
    first, second = (CoMoments.of(DenseBlock(place(part))) for part in (rows[:17], rows[17:]))

    for statistic in (first, first.merge(second)):
        assert (np.diagonal(back(statistic.comoments)) > 0).tolist() == [True, True, False, True, True, True]


@each_library
@pytest.mark.parametrize("divides", [True, False])
def test_affine_map(divides: bool, place: Callable[[Any], Any]) -> None:
    """The map's own arrays are NumPy's, and go to where the values are."""
    scaled = AffineMap(GAINS, np.array([1.0, 2.0, np.inf, 0.5, 3.0, 1e-300]), GAINS[::-1].copy(), divides)

    np.testing.assert_array_equal(back(scaled.apply(place(DATA["invalid"]))), scaled.apply(DATA["invalid"]))


@each_library
def test_matrix_map(place: Callable[[Any], Any]) -> None:
    """A row with an invalid value becomes a row of NaN."""
    matrix = np.random.default_rng(2).normal(size=(6, 6))
    mixed = MatrixMap(GAINS, matrix, np.linalg.inv(matrix), GAINS[::-1].copy())

    close(back(mixed.apply(place(DATA["invalid"]))), mixed.apply(DATA["invalid"]))


@each_library
@pytest.mark.parametrize("normal", [False, True])
def test_quantile_curve(normal: bool, place: Callable[[Any], Any]) -> None:
    """Ranks, and the values of ranks."""
    curve = QuantileCurve(False, normal, np.sort(ROWS, axis=0).T, np.full(6, 39.0))
    rows = np.concatenate([DATA["invalid"], np.round(ROWS * 1.5)])
    mapped = curve.apply(rows)

    close(back(curve.apply(place(rows))), mapped, atol=1e-14)
    close(back(curve.inverse().apply(place(mapped))), curve.inverse().apply(mapped), atol=1e-14)


KERNELS: dict[str, Callable[[Any], Any]] = {
    "moments": partial(kernels.moments, axes=0),
    "batch_norm": partial(kernels.batch_norm, mean=GAINS, variance=GAINS**2, gamma=GAINS, beta=GAINS),
    "batch_norm_train": partial(kernels.batch_norm_train, gamma=GAINS, beta=GAINS),
    "batch_norm_backward": lambda x: kernels.batch_norm_backward(x * 2.0, x, GAINS),
    "batch_norm_backward of NumPy": lambda x: kernels.batch_norm_backward(ROWS, x, GAINS),
    "layer_norm": partial(kernels.layer_norm, gamma=GAINS, beta=GAINS),
    "group_norm": partial(kernels.group_norm, groups=3, gamma=GAINS, beta=GAINS),
    "rms_norm": partial(kernels.rms_norm, gamma=GAINS),
    "normalize": kernels.normalize,
    "normalize, largest": partial(kernels.normalize, p=np.inf),
    "clip_by_value": partial(kernels.clip_by_value, low=-1.0, high=1.0),
    "clip_by_norm": partial(kernels.clip_by_norm, clip_norm=1.0),
    "instance_norm": lambda x: kernels.instance_norm(_tensor(x), gamma=[2.0, 3.0, 4.0]),
    "global_norm": lambda x: kernels.global_norm([x, x * 2.0]),
    "clip_by_global_norm": lambda x: tuple(kernels.clip_by_global_norm([x, x * 2.0], 1.0)[0]),
    "spectral_norm": lambda x: kernels.spectral_norm(x.T @ x),
    "power_transform": partial(kernels.power_transform, lambdas=np.linspace(-1.0, 3.0, 6)),
    "inverse_power_transform": partial(kernels.inverse_power_transform, lambdas=np.linspace(0.0, 2.0, 6)),
    "quantile_transform": partial(kernels.quantile_transform, quantiles=np.sort(ROWS, axis=0), distribution="normal"),
    "inverse_quantile_transform": partial(kernels.inverse_quantile_transform, quantiles=np.sort(ROWS, axis=0)),
    "quantize": partial(kernels.quantize, ranges=[[-1.0] * 6, [5.0] * 6]),
    "quantize, symmetric": partial(kernels.quantize, ranges=[[-1.0], [5.0]], scheme="symmetric"),
    "dequantize": partial(kernels.dequantize, ranges=np.sort(ROWS, axis=0)[[0, -1]], dtype="uint8"),
    "whitening": lambda x: kernels.whitening(x.T @ x, method="zca"),
}
FROM_VALID: dict[str, Callable[..., Any]] = {
    "moments": partial(kernels.moments, axes=1),
    "layer_norm": kernels.layer_norm,
    "group_norm": partial(kernels.group_norm, groups=2, gamma=GAINS, beta=GAINS),
    "rms_norm": partial(kernels.rms_norm, gamma=GAINS, epsilon=0.0),
    "normalize": partial(kernels.normalize, p=3.0),
    "normalize, largest": partial(kernels.normalize, p=np.inf),
    "clip_by_norm": partial(kernels.clip_by_norm, clip_norm=1.0, axes=1),
}


def _tensor(x: Any) -> Any:
    return namespace(x).reshape(x, (-1, 3, 2))


@each_library
@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name: str, place: Callable[[Any], Any]) -> None:
    """Parameters may be lists and NumPy's arrays; results are where the values are."""
    kernel = KERNELS[name]
    actual, expected = back(kernel(place(ROWS))), kernel(ROWS)

    for one, other in zip(*((r if isinstance(r, tuple) else (r,)) for r in (actual, expected)), strict=True):
        close(one, other, atol=1e-14 if place is on_gpu else 1e-15)  # of gradients that are nearly 0


@each_library
@pytest.mark.parametrize("name", FROM_VALID)
def test_kernels_of_the_values_that_count(name: str, place: Callable[[Any], Any]) -> None:
    """Invalid values are left out of means and norms, but are mapped."""
    kernel, rows = FROM_VALID[name], DATA["invalid"][:, [0, 1, 3, 4, 5, 5]]
    with np.errstate(all="ignore"):
        actual, expected = (kernel(x, where=namespace(x).isfinite(x)) for x in (place(rows), rows))
    filled = kernel(np.where(np.isfinite(rows), rows, 0.0))

    for one, other, plain in zip(*map(_as_tuple, (actual, expected, filled)), strict=True):
        close(back(one), other, atol=1e-13)
        if name in {"normalize", "normalize, largest", "clip_by_norm"}:  # to which zeros add nothing
            close(other[np.isfinite(rows)], plain[np.isfinite(rows)])
        assert np.isfinite(other[np.isfinite(rows)] if other.shape == rows.shape else other).all()


def _as_tuple(x: Any) -> Any:
    return x if isinstance(x, tuple) else (x,)


PACKAGE = Path(kernels.__file__).parents[1]
ON_DEVICE = {
    **{f"kernels/{path.name}": None for path in (PACKAGE / "kernels").glob("*.py")},
    "kernels/quantile.py": {"forward", "backward", "_interpolated"},
    "kernels/power.py": {"Side", "forward", "backward"},
    "logarithms.py": None,
    "curves.py": {"_applied"},
    "affine.py": {"apply"},
    "spark/transform/rows.py": {"MaskedKernel"},
    "spark/transform/affine.py": {"_mapped"},
    "spark/transform/quantized.py": {"_codes"},
    "blocks.py": {"DenseBlock"},
    "statistics/_base.py": {"total", "of", "merge"},
    "statistics/_reductions.py": {"Columns"},
    "statistics/counts.py": {"_of_chunk", "_combined"},
    "statistics/extrema.py": {"_of_chunk", "_combined"},
    "statistics/squares.py": {"_of_chunk", "_combined", "_unit"},
    "statistics/moments.py": {"_of_chunk", "_combined", "_in_units"},
    "statistics/_units.py": None,
    "statistics/co_moments.py": {"of", "_of_chunk", "merge"},
}
ALLOWED = {"errstate", "inf", "nan"}


def _of_host(tree: ast.AST) -> list[str]:
    """Return what calls NumPy, or writes into an array."""
    uses = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np":
            uses += [f"np.{node.attr}"] if node.attr not in ALLOWED else []
        elif isinstance(node, ast.AugAssign):
            uses += ["in place"] if not isinstance(node.value, ast.Constant) else []
        elif isinstance(node, ast.Assign):
            uses += ["into an array" for target in node.targets if isinstance(target, ast.Subscript)]
        elif isinstance(node, ast.keyword) and node.arg == "out":
            uses.append("out=")
    return uses


def _bodies(tree: ast.AST, names: set[str] | None) -> list[ast.AST]:
    """Return the code of functions and classes of these names, without annotations."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    kinds = (ast.FunctionDef, ast.ClassDef)
    chosen = [n for n in ast.walk(tree) if isinstance(n, kinds) and (names is None or n.name in names)]
    assert names is None or {n.name for n in chosen} == names
    return [line for n in chosen for line in n.body if not isinstance(line, ast.AnnAssign)]


@pytest.mark.parametrize("file", ON_DEVICE)
def test_what_runs_on_a_device_calls_its_library_alone(file: str) -> None:
    """NumPy would fetch a device's array without a word, and arrays of Arrow and of some libraries are read-only."""
    tree = ast.parse((PACKAGE / file).read_text())

    assert [what for body in _bodies(tree, ON_DEVICE[file]) for what in _of_host(body)] == []


@pytest.mark.parametrize("code", ["np.sum(x)", "x -= y", "x[0] = y", "xp.add(x, y, out=x)"])
def test_check_reports_foreign_calls(code: str) -> None:
    """It reports each forbidden use."""
    assert _of_host(ast.parse(code)) != []


class Recorded:
    """The strict namespace, which keeps what is called and how."""

    def __init__(self, calls: dict[str, Any] | None = None, prefix: str = "") -> None:
        self.calls: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {} if calls is None else calls
        self.prefix = prefix

    def __getattr__(self, name: str) -> Any:
        name = self.prefix + name
        attribute = attrgetter(name)(strict)
        if isinstance(attribute, ModuleType):
            return Recorded(self.calls, f"{name}.")
        if not callable(attribute) or isinstance(attribute, type):
            self.calls.setdefault(name, [])
            return attribute

        def recorded(*args: Any, **kwargs: Any) -> Any:
            self.calls.setdefault(name, []).append((args, kwargs))
            return attribute(*args, **kwargs)

        return recorded


class LikeCub(Recorded):
    """The strict namespace, whose extrema of infinities are the largest doubles, as CuPy 13's (cupy/cupy#8180)."""

    def min(self, x: Any, axis: int) -> Any:
        return strict.clip(strict.min(x, axis=axis), max=float(np.finfo(float).max))

    def max(self, x: Any, axis: int) -> Any:
        return strict.clip(strict.max(x, axis=axis), min=float(np.finfo(float).min))


@pytest.mark.parametrize("kind", [Extrema, Squares])
def test_extrema_of_infinities(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    """A feature without a valid value has the extrema of no values, in every library."""
    rows = np.array([[np.inf, -np.inf, np.nan, 1.0], [np.inf, -np.inf, np.nan, np.inf]])
    expected = kind.of(DenseBlock(rows))
    monkeypatch.setattr("sparkscale.arrays.array_namespace", lambda *arrays: LikeCub())
    actual = kind.of(DenseBlock(on_device(rows)))

    for name in kind.names():
        np.testing.assert_array_equal(back(getattr(actual, name)), getattr(expected, name), err_msg=name)


@pytest.mark.third_party
def test_cupy_has_each_function_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name and by signature; the real library, which imports without a device."""
    cupy = pytest.importorskip("array_api_compat.cupy", reason="CuPy has no wheel for this platform")
    record = Recorded()
    monkeypatch.setattr("sparkscale.arrays.array_namespace", lambda *arrays: record)
    for kernel in KERNELS.values():
        kernel(on_device(ROWS))
    for kernel in FROM_VALID.values():
        kernel(on_device(ROWS), where=on_device(ROWS) > 0.0)
    MaskedKernel(partial(kernels.rms_norm, gamma=[1.0, 2.0]), (2, 3), swapped=True)(on_device(ROWS))
    Moments.of(DenseBlock(on_device(ROWS), on_device(WEIGHTS)))
    for rows in DATA.values():
        DenseBlock(on_device(rows)).invalid()
        DenseBlock(on_device(rows)).complete()
        MatrixMap(GAINS, np.eye(6), np.eye(6), GAINS).apply(on_device(rows))
    for kind, rows in product(KINDS, DATA.values()):
        kind.of(DenseBlock(on_device(rows))).merge(kind.of(DenseBlock(on_device(rows))))
    AffineMap(GAINS, GAINS, GAINS).apply(on_device(ROWS))

    assert {"sum", "where", "isfinite", "asarray", "take_along_axis"} <= set(record.calls)
    assert {"linalg.eigh", "linalg.eigvalsh", "permute_dims"} <= set(record.calls)
    assert [name for name in record.calls if not hasattr(cupy, name.split(".")[0])] == []
    for name, calls in record.calls.items():
        function = attrgetter(name)(cupy)
        for args, kwargs in calls:
            if hasattr(function, "nin"):
                assert (len(args), kwargs) == (function.nin, {}), name
            else:
                inspect.signature(function).bind(*args, **kwargs)
