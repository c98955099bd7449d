"""The kernels of batch normalization and its family: worked cases, and the laws they obey."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frames import near
from sparkscale import kernels
from sparkscale.errors import ParamError

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "batch_norm_cases.json").read_text("utf-8"))["cases"]
}
TAME = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda v: round(v, 3))
images = arrays(np.float64, st.tuples(st.integers(2, 4), st.just(4), st.integers(1, 3)), elements=TAME)
matrices = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=TAME)


def case(name: str) -> tuple[dict[str, Any], Any, float]:
    """Return inputs, expected values and tolerance of a worked case."""
    entry = CASES[name]
    return entry["inputs"], entry["expected"], entry["rtol"]


# --- worked cases ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torch_batchnorm1d_train_two_batches", "torch_batchnorm2d_nchw"])
def test_running_statistics_of_batches(name: str) -> None:
    """Each batch moves the running statistics, the variance as the unbiased one; the last is normalized by them."""
    given_, expected, rtol = case(name)
    batches = given_.get("batches") or [given_["x"]]
    mean, variance = np.zeros(2), np.ones(2)
    for x, step in zip(batches, expected["steps"], strict=True):
        y, batch_mean, batch_variance = kernels.batch_norm_train(x, epsilon=given_["eps"])
        n = np.size(x) // 2
        mean = 0.9 * mean + 0.1 * batch_mean
        variance = 0.9 * variance + 0.1 * batch_variance * n / (n - 1)

        for key, value in {"y": y, "running_mean": mean, "running_var": variance}.items():
            actual = next(v for k, v in step.items() if k in {key, f"{key}_train", f"train_{key}"})
            near(value, actual, rtol)
    near(kernels.batch_norm(batches[-1], mean, variance, epsilon=given_["eps"]), expected["eval_y_last_batch"], rtol)


def test_evaluation_with_gain_and_bias() -> None:
    """Running statistics, gamma and beta are applied per channel."""
    given_, expected, rtol = case("torch_batchnorm1d_affine_eval")
    y = kernels.batch_norm(
        given_["x"],
        given_["running_mean"],
        given_["running_var"],
        given_["weight"],
        given_["bias"],
        epsilon=given_["eps"],
    )

    near(y, expected["y"], rtol)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_channels_of_flattened_rows(layout: str) -> None:
    """Channels first or last, every place counts."""
    given_, expected, rtol = case("channel_stats_from_flattened_rows")
    shape, axes = ((-1, 2, 4), (0, 2)) if layout == "nchw" else ((-1, 4, 2), (0, 1))
    mean, variance = kernels.moments(np.reshape(given_[f"{layout}_rows"], shape), axes)

    near(mean, expected["mean"], rtol)
    near(variance, expected["var_biased"], rtol)


def test_moments_as_tensorflow_has_them() -> None:
    """Biased, with the reduced axes kept if wanted."""
    given_, expected, rtol = case("tf_moments_and_batch_normalization")
    mean, variance = kernels.moments(given_["x"], given_["axes"])
    kept = kernels.moments(given_["x"], given_["axes"], keepdims=True)

    near(mean, expected["mean"], rtol)
    near(variance, expected["variance"], rtol)
    assert [k.shape for k in kept] == [(1, 2), (1, 2)]
    y = kernels.batch_norm(
        given_["x"], mean, variance, given_["scale"], given_["offset"], epsilon=given_["variance_epsilon"]
    )
    near(y, expected["y"], rtol)


def test_single_precision_is_summed_in_double() -> None:
    """Where float32 sums of squares lose everything."""
    given_, expected, _ = case("float32_accumulation_needs_float64")
    mean, variance = kernels.moments(np.array(given_["values_float32"], np.float32), 0)

    assert (float(mean), float(variance) * 4) == (expected["mean"], expected["M2_float64"])


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("layer_norm", lambda g: kernels.layer_norm(g["x"], epsilon=g["eps"])),
        ("instance_norm", lambda g: kernels.instance_norm(g["x"], epsilon=g["eps"])),
        ("group_norm", lambda g: kernels.group_norm(g["x"], g["num_groups"], epsilon=g["eps"])),
        ("pixel_norm", lambda g: kernels.rms_norm(g["x"], epsilon=g["eps"], axes=g["axis"])),
        ("clip_by_value", lambda g: kernels.clip_by_value(g["x"], g["min"], g["max"])),
        ("clip_by_norm", lambda g: kernels.clip_by_norm(g["x"], g["clip_norm"])),
    ],
)
def test_normalizations_of_rows(name: str, function: Any) -> None:
    """Values worked out from the formulas."""
    given_, expected, rtol = case(name)

    near(function(given_), expected["y"], rtol)


def test_unit_norm_leaves_zero_rows() -> None:
    """As Spark's Normalizer does."""
    given_, expected, rtol = case("unit_l2_norm")

    near(kernels.normalize(given_["x"]), expected["y_spark"], rtol)


def test_spectral_norm_of_the_gram_matrix() -> None:
    """Either way round, it is the largest singular value."""
    given_, expected, rtol = case("spectral_norm")
    w = np.array(given_["W"])

    near(kernels.spectral_norm(w.T @ w), expected["sigma_exact"], rtol)
    near(kernels.spectral_norm(w @ w.T), expected["sigma_exact"], rtol)


@pytest.mark.parametrize(("formula", "key"), [("tensorflow", "tf"), ("torch", "torch")])
def test_global_norm_is_clipped_by_either_formula(formula: str, key: str) -> None:
    """One factor for all arrays."""
    given_, expected, rtol = case("clip_by_global_norm")
    clipped, norm = kernels.clip_by_global_norm(given_["tensors"], given_["clip_norm"], formula=formula)

    near(norm, expected["global_norm"], rtol)
    for one, other in zip(clipped, expected[key], strict=True):
        near(one, other, rtol)


# --- laws ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [2.0**-500, 2.0**-600, 2.0**-1000, 2.0**400])
def test_without_epsilon_a_batch_is_normalized_in_any_unit(unit: float) -> None:
    """The results are those of the same values in units of 1, though squares vanish; gradients are in that unit."""
    x, dy = (np.random.default_rng(k).normal(3.0, 1.0, (6, 2)) for k in (0, 1))
    y, mean, variance = kernels.batch_norm_train(x, [2.0, 3.0], epsilon=0.0)
    dx, dgamma, dbeta = kernels.batch_norm_backward(dy, x, [2.0, 3.0], 0.0)

    of_units = kernels.batch_norm_train(x * unit, [2.0, 3.0], epsilon=0.0)
    gradients = kernels.batch_norm_backward(dy, x * unit, [2.0, 3.0], 0.0)

    for actual, expected in zip(
        (*of_units, *gradients), (y, mean * unit, variance * unit * unit, dx / unit, dgamma, dbeta), strict=True
    ):
        near(actual, expected, atol=1e-15 * np.abs(expected).max())


@given(x=images)
def test_a_batch_normalized_by_itself_has_mean_0_and_at_most_unit_variance(x: np.ndarray) -> None:
    """Epsilon takes away from the variance, and a constant channel becomes 0."""
    y, _, variance = kernels.batch_norm_train(x, epsilon=1e-5)
    mean, actual = kernels.moments(y, (0, 2))

    near(mean, 0.0, atol=1e-9)
    near(actual, variance / (variance + 1e-5), rtol=1e-7, atol=1e-9)


@given(x=images, gamma=arrays(np.float64, 4, elements=TAME), seed=st.integers(0, 99))
def test_backward_is_the_derivative_of_forward(x: np.ndarray, gamma: np.ndarray, seed: int) -> None:
    """Compared with the chain rule written out through mean and variance, in the order of the formulas."""
    rng = np.random.default_rng(seed)
    dy, epsilon = rng.normal(size=x.shape), 1e-3
    n = x.shape[0] * x.shape[2]
    mean, variance = kernels.moments(x, (0, 2), keepdims=True)
    centred, root = x - mean, np.sqrt(variance + epsilon)
    g = gamma[:, None]
    d_normal = dy * g
    d_variance = (d_normal * centred).sum(axis=(0, 2), keepdims=True) * -0.5 / root**3
    d_mean = -(d_normal / root).sum(axis=(0, 2), keepdims=True)
    expected = d_normal / root + d_variance * 2 * centred / n + d_mean / n

    dx, dgamma, dbeta = kernels.batch_norm_backward(dy, x, gamma, epsilon=epsilon)

    scale = np.abs(d_normal / root).max() + 1e-300
    near(dx, expected, rtol=0, atol=1e-9 * scale)
    near(dgamma, (dy * centred / root).sum(axis=(0, 2)), rtol=1e-9, atol=1e-9)
    near(dbeta, dy.sum(axis=(0, 2)), rtol=1e-9, atol=1e-9)


def test_backward_agrees_with_differences() -> None:
    """The loss moves as the gradients say."""
    rng = np.random.default_rng(0)
    x, dy, gamma, beta = (rng.normal(size=s) for s in ((5, 3), (5, 3), 3, 3))
    grads = kernels.batch_norm_backward(dy, x, gamma)

    def loss(x: Any, gamma: Any, beta: Any) -> float:
        return float((kernels.batch_norm_train(x, gamma, beta)[0] * dy).sum())

    for k, grad in enumerate(grads):
        for at in np.ndindex(grad.shape):
            step = [np.zeros_like(p) for p in (x, gamma, beta)]
            step[k][at] = 1e-6
            above, below = (
                loss(*(p + s * d for p, d in zip((x, gamma, beta), step, strict=True))) for s in (1.0, -1.0)
            )
            assert (above - below) / 2e-6 == pytest.approx(grad[at], rel=1e-6, abs=1e-7)


@given(x=images)
def test_groups_lead_from_layer_norm_to_instance_norm(x: np.ndarray) -> None:
    """One group is all of a row; as many groups as channels is each channel."""
    near(kernels.group_norm(x, 1), kernels.layer_norm(x, axes=(1, 2)), rtol=1e-12, atol=1e-12)
    near(kernels.group_norm(x, 4), kernels.layer_norm(x, axes=2), rtol=1e-12, atol=1e-12)
    near(kernels.group_norm(x, 4), kernels.instance_norm(x), rtol=0)


@given(x=images)
def test_gain_and_bias_are_per_channel(x: np.ndarray) -> None:
    """Also in group norm, where statistics are not."""
    gamma, beta = np.array([1.0, 2.0, -1.0, 0.0]), np.array([0.0, 1.0, 5.0, -2.0])
    plain = kernels.group_norm(x, 2)

    near(kernels.group_norm(x, 2, gamma, beta), plain * gamma[:, None] + beta[:, None], atol=1e-12)


@given(x=matrices, p=st.sampled_from([1.0, 1.5, 2.0, 3.0, np.inf]))
def test_normalized_rows_have_norm_1_or_are_0(x: np.ndarray, p: float) -> None:
    """For every order."""
    y = kernels.normalize(x, p)

    near(np.linalg.norm(y, p, axis=1), (x != 0).any(axis=1).astype(float), rtol=1e-12)


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_norms_neither_overflow_nor_underflow(size: float) -> None:
    """Squares of the values would."""
    near(kernels.normalize([3 * size, 4 * size]), [0.6, 0.8])
    near(kernels.global_norm([[3 * size], [4 * size]]), 5 * size)
    near(kernels.clip_by_norm([3 * size, 4 * size], size), [0.6 * size, 0.8 * size])


@given(x=matrices, clip=st.floats(0.01, 1e4), formula=st.sampled_from(["tensorflow", "torch"]))
def test_clipped_rows_are_no_longer_than_the_norm(x: np.ndarray, clip: float, formula: str) -> None:
    """And keep their direction; shorter ones stay as they are."""
    y = kernels.clip_by_norm(x, clip, axes=1, formula=formula)
    length = np.linalg.norm(x, axis=1)

    assert (np.linalg.norm(y, axis=1) <= clip * (1 + 1e-12)).all()
    short = length < clip - 1e-5
    near(y[short], x[short], rtol=1e-15)


def test_a_norm_that_is_not_finite_shows() -> None:
    """As in TensorFlow: NaN is not hidden by clipping."""
    assert np.isnan(kernels.clip_by_norm([np.nan, 1.0], 1.0)).all()
    assert np.isnan(kernels.clip_by_value([np.nan], 0.0, 1.0)).all()


@given(x=arrays(np.float64, (12, 3), elements=TAME), method=st.sampled_from(["pca", "zca"]))
def test_whitened_features_are_uncorrelated_with_unit_variance(x: np.ndarray, method: str) -> None:
    """Where there is variance in every direction; and the inverse leads back."""
    x = x + np.random.default_rng(0).normal(size=x.shape) * (1 + np.abs(x).max())
    covariance = np.cov(x, rowvar=False)
    matrix, inverse = kernels.whitening(covariance, method=method)

    near(matrix @ covariance @ matrix.T, np.eye(3), atol=1e-8)
    near(inverse @ matrix, np.eye(3), atol=1e-8)
    if method == "zca":
        near(matrix, matrix.T, atol=1e-12 * np.abs(matrix).max())


def test_a_direction_without_variance_becomes_0() -> None:
    """Instead of noise blown up."""
    matrix, inverse = kernels.whitening([[1.0, 1.0], [1.0, 1.0]])

    near(matrix @ np.array([1.0, -1.0]), [0.0, 0.0], atol=1e-12)
    near(inverse @ matrix @ np.array([1.0, 1.0]), [1.0, 1.0])


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_results_have_the_input_s_floating_type(kind: type) -> None:
    """Integers become doubles."""
    x = np.array([[1, 2, 4, 3], [3, 5, 9, 0]], kind)
    expected = np.float32 if kind is np.float32 else np.float64
    results = [
        kernels.batch_norm(x, np.ones(4), np.ones(4)),
        kernels.batch_norm_train(x)[0],
        kernels.batch_norm_backward(x, x)[0],
        kernels.layer_norm(x),
        kernels.group_norm(x, 2),
        kernels.rms_norm(x),
        kernels.normalize(x),
        kernels.clip_by_value(x, 0.0, 1.0),
        kernels.clip_by_norm(x, 1.0),
    ]

    assert {r.dtype.type for r in results} == {expected}


def test_inputs_stay_as_they_were() -> None:
    """Nothing is written in place: read-only arrays will do."""
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    x.flags.writeable = False

    for function in (kernels.batch_norm_train, kernels.layer_norm, kernels.rms_norm, kernels.normalize):
        function(x)


# --- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.batch_norm_train([[1.0, 2.0]]), "more than one value per channel"),
        (lambda: kernels.group_norm(np.ones((2, 4)), 3), "groups=3 does not divide 4 channels"),
        (lambda: kernels.group_norm(np.ones((2, 4)), 0), "groups=0 does not divide"),
        (lambda: kernels.normalize([1.0], 0.5), "p must be at least 1"),
        (lambda: kernels.normalize([1.0], float("nan")), "p must be at least 1"),
        (lambda: kernels.clip_by_value([1.0], 2.0, 1.0), "low must not be above high"),
        (lambda: kernels.clip_by_norm([1.0], 0.0), "clip_norm must be positive"),
        (lambda: kernels.clip_by_norm([1.0], 1.0, formula="keras"), "formula must be 'tensorflow' or 'torch'"),
        (lambda: kernels.whitening(np.eye(2), method="ica"), "method must be 'pca' or 'zca'"),
    ],
)
def test_what_cannot_be_used_is_refused(call: Any, message: str) -> None:
    """With what to do instead."""
    with pytest.raises(ParamError, match=message):
        call()


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e300])
def test_squares_of_rows_neither_overflow_nor_vanish(size: float) -> None:
    """What is normalized does not depend on the unit, as far as epsilon does not count."""
    x = np.array([[3.0, -4.0, 0.0, 1.0]])

    near(kernels.rms_norm(x * size, epsilon=0.0), kernels.rms_norm(x, epsilon=0.0))
    near(kernels.layer_norm(x * size, epsilon=0.0), kernels.layer_norm(x, epsilon=0.0))


def test_a_negative_epsilon_is_refused() -> None:
    """By every kernel that has the parameter."""
    x = np.ones((2, 2))
    for call in (
        lambda: kernels.layer_norm(x, epsilon=-1.0),
        lambda: kernels.rms_norm(x, epsilon=float("nan")),
        lambda: kernels.batch_norm(x, [0, 0], [1, 1], epsilon=-1e-9),
        lambda: kernels.batch_norm_train(x, epsilon=-1.0),
        lambda: kernels.batch_norm_backward(x, x, None, -1.0),
    ):
        with pytest.raises(ParamError, match="epsilon must be at least 0"):
            call()


def test_an_empty_array_has_norm_0() -> None:
    """And is normalized to itself."""
    assert float(kernels.global_norm([np.zeros((0, 3))])) == 0.0
    assert float(kernels.global_norm([])) == 0.0
    assert kernels.normalize(np.zeros((2, 0))).shape == (2, 0)
