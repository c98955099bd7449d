"""The kernels beside PyTorch's layers and functions, in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sparkscale import kernels

torch = pytest.importorskip("torch")
functional = torch.nn.functional

RNG = np.random.default_rng(11)
X = RNG.normal(3.0, 2.0, (5, 6, 4, 3))  # batch, channels, places
GAMMA, BETA = RNG.normal(size=6), RNG.normal(size=6)


def tensor(x: Any) -> Any:
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def near(actual: Any, expected: Any, rtol: float = 1e-11) -> None:
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=rtol, atol=1e-13)


@pytest.mark.parametrize("x", [X, X[:, :, :, 0], X[:, :, 0, 0]], ids=["2d", "1d with places", "1d"])
def test_batch_norm_in_training_and_evaluation(x: np.ndarray) -> None:
    """Both passes, with gain and bias, over any number of places."""
    mean, variance = RNG.normal(size=6), RNG.random(6) + 0.5

    trained, batch_mean, batch_variance = kernels.batch_norm_train(x, GAMMA, BETA, epsilon=1e-3)

    others = tuple(a for a in range(x.ndim) if a != 1)
    near(batch_mean, x.mean(others))
    near(batch_variance, x.var(others))
    layer = {"weight": tensor(GAMMA), "bias": tensor(BETA), "eps": 1e-3}
    near(trained, functional.batch_norm(tensor(x), None, None, training=True, **layer))
    evaluated = kernels.batch_norm(x, mean, variance, GAMMA, BETA, epsilon=1e-3)
    near(evaluated, functional.batch_norm(tensor(x), tensor(mean), tensor(variance), **layer))


def test_batch_norm_backward_is_autograd() -> None:
    """The gradients of input, gain and bias."""
    x, gamma, beta = (tensor(v).requires_grad_() for v in (X, GAMMA, BETA))
    dy = RNG.normal(size=X.shape)
    functional.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-4).backward(tensor(dy))

    dx, dgamma, dbeta = kernels.batch_norm_backward(dy, X, GAMMA, 1e-4)

    for found, expected in ((dx, x.grad), (dgamma, gamma.grad), (dbeta, beta.grad)):
        near(found, expected, 1e-9)


def test_layer_norm() -> None:
    """Over the last axes, with gain and bias of their shape."""
    shape = X.shape[1:]
    gamma, beta = RNG.normal(size=shape), RNG.normal(size=shape)

    found = kernels.layer_norm(X, gamma, beta, epsilon=1e-5, axes=(1, 2, 3))

    near(found, functional.layer_norm(tensor(X), shape, tensor(gamma), tensor(beta), 1e-5))


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_norm(groups: int) -> None:
    """With gain and bias per channel."""
    expected = functional.group_norm(tensor(X), groups, tensor(GAMMA), tensor(BETA), 1e-5)

    near(kernels.group_norm(X, groups, GAMMA, BETA, epsilon=1e-5), expected)


def test_instance_norm() -> None:
    """Each channel of each row by itself."""
    expected = functional.instance_norm(tensor(X), weight=tensor(GAMMA), bias=tensor(BETA), eps=1e-5)

    near(kernels.instance_norm(X, GAMMA, BETA, epsilon=1e-5), expected)


def test_rms_norm() -> None:
    """Over the last axis, with a gain."""
    gamma = RNG.normal(size=3)

    near(kernels.rms_norm(X, gamma, epsilon=1e-6), functional.rms_norm(tensor(X), (3,), tensor(gamma), 1e-6))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5, np.inf])
def test_normalize(p: float) -> None:
    """Any order of the norm."""
    near(kernels.normalize(X, p), functional.normalize(tensor(X), p, dim=-1, eps=0.0))


def test_spectral_norm() -> None:
    """The largest singular value that ``torch.linalg`` finds."""
    rows = X.reshape(30, 12)

    near(kernels.spectral_norm(rows.T @ rows), torch.linalg.matrix_norm(tensor(rows), 2))


def test_clip_by_norm_as_renorm() -> None:
    """``torch.renorm`` shortens rows that are longer than the norm."""
    rows = X.reshape(30, 12)

    found = kernels.clip_by_norm(rows, 9.0, axes=-1, formula="tensorflow")

    near(found, torch.renorm(tensor(rows), 2, 0, 9.0), 1e-6)  # which adds 1e-7 to the norm


@pytest.mark.parametrize("clip", [1.0, 1e6])
def test_clip_by_global_norm_as_clip_grad_norm(clip: float) -> None:
    """PyTorch's formula, over all arrays together, longer and shorter than the bound."""
    parameters = [tensor(part).requires_grad_() for part in (X[0], X[1:3], X[3:])]
    for parameter in parameters:
        parameter.grad = parameter.detach().clone()
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip)

    found, found_norm = kernels.clip_by_global_norm([X[0], X[1:3], X[3:]], clip, formula="torch")

    near(found_norm, norm)
    for one, parameter in zip(found, parameters, strict=True):
        near(one, parameter.grad)
