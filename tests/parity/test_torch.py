"""The kernels compared with PyTorch's layers and functions, in double precision."""

from __future__ import annotations

import numpy as np
import pytest

import torch_numbers
from frames import near
from sparkscale import kernels

GIVEN, EXPECTED = torch_numbers.read()
X, GAMMA, BETA = GIVEN["x"], GIVEN["gamma"], GIVEN["beta"]
CLOSE = {"rtol": 1e-11, "atol": 1e-13}


@pytest.mark.third_party
def test_the_numbers_are_still_pytorchs() -> None:
    """Of the version that is installed, on what is kept as its input."""
    computed = torch_numbers.outputs(GIVEN)

    np.testing.assert_equal(torch_numbers.inputs(), GIVEN)
    assert computed.keys() == EXPECTED.keys()
    for name, expected in EXPECTED.items():
        np.testing.assert_allclose(computed[name], expected, rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.parametrize(("name", "places"), [("2d", ...), ("1d with places", (..., 0)), ("1d", (..., 0, 0))])
def test_batch_norm_in_training_and_evaluation(name: str, places: object) -> None:
    """Both passes, with gain and bias, over any number of places."""
    x = X[places]

    trained, batch_mean, batch_variance = kernels.batch_norm_train(x, GAMMA, BETA, epsilon=1e-3)
    evaluated = kernels.batch_norm(x, GIVEN["mean"], GIVEN["variance"], GAMMA, BETA, epsilon=1e-3)

    others = tuple(a for a in range(x.ndim) if a != 1)
    near(batch_mean, x.mean(others), **CLOSE)
    near(batch_variance, x.var(others), **CLOSE)
    near(trained, EXPECTED[f"trained {name}"], **CLOSE)
    near(evaluated, EXPECTED[f"evaluated {name}"], **CLOSE)


def test_batch_norm_backward_is_autograd() -> None:
    """The gradients of input, gain and bias."""
    gradients = kernels.batch_norm_backward(GIVEN["dy"], X, GAMMA, 1e-4)

    for gradient, name in zip(gradients, ("dx", "dgamma", "dbeta"), strict=True):
        near(gradient, EXPECTED[name], 1e-9, 1e-13)


def test_layer_norm() -> None:
    """Over the last axes, with gain and bias of their shape."""
    normalized = kernels.layer_norm(X, GIVEN["layer_gamma"], GIVEN["layer_beta"], epsilon=1e-5, axes=(1, 2, 3))

    near(normalized, EXPECTED["layer"], **CLOSE)


@pytest.mark.parametrize("groups", torch_numbers.GROUPS)
def test_group_norm(groups: int) -> None:
    """With gain and bias per channel."""
    near(kernels.group_norm(X, groups, GAMMA, BETA, epsilon=1e-5), EXPECTED[f"group {groups}"], **CLOSE)


def test_instance_norm() -> None:
    """Each channel of each row by itself."""
    near(kernels.instance_norm(X, GAMMA, BETA, epsilon=1e-5), EXPECTED["instance"], **CLOSE)


def test_rms_norm() -> None:
    """Over the last axis, with a gain."""
    near(kernels.rms_norm(X, GIVEN["rms_gamma"], epsilon=1e-6), EXPECTED["rms"], **CLOSE)


@pytest.mark.parametrize("p", torch_numbers.ORDERS)
def test_normalize(p: float) -> None:
    """Any order of the norm."""
    near(kernels.normalize(X, p), EXPECTED[f"normalize {p}"], **CLOSE)


def test_spectral_norm() -> None:
    """The largest singular value that ``torch.linalg`` finds."""
    rows = X.reshape(18, 4)

    near(kernels.spectral_norm(rows.T @ rows), EXPECTED["spectral"], **CLOSE)


def test_clip_by_norm_as_renorm() -> None:
    """``torch.renorm`` shortens rows that are longer than the norm."""
    rows = X.reshape(18, 4)
    lengths = np.linalg.norm(rows, axis=1)

    clipped = kernels.clip_by_norm(rows, 6.0, axes=-1, formula="tensorflow")

    assert lengths.min() < 6.0 < lengths.max()
    near(clipped, EXPECTED["renorm"], 1e-6, 1e-13)  # which adds 1e-7 to the norm


@pytest.mark.parametrize("clip", torch_numbers.CLIPS)
def test_clip_by_global_norm_as_clip_grad_norm(clip: float) -> None:
    """PyTorch's formula, jointly over all arrays, with norms above and below the bound."""
    clipped, norm = kernels.clip_by_global_norm([X[0], X[1:]], clip, formula="torch")

    near(norm, EXPECTED[f"global norm {clip}"], **CLOSE)
    near(np.concatenate([part.ravel() for part in clipped]), EXPECTED[f"clipped {clip}"], **CLOSE)
