"""PyTorch's numbers, kept as data so that tests compare with them where it is not installed.

``python tests/torch_numbers.py`` computes them anew. A test does so, too, and looks whether they are still the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).parent / "cases" / "torch.json"
CASES = PATH.with_name("batch_norm_cases.json")
GROUPS, ORDERS, CLIPS, MOMENTA = (1, 2, 3, 6), (1.0, 2.0, 3.5, np.inf), (1.0, 1e6), (0.1, 0.7, 1.0, None)


def inputs() -> dict[str, Any]:
    """Return what the layers are given: x has the axes batch, channels, and two of places."""
    rng = np.random.default_rng(11)
    x = rng.normal(3.0, 2.0, (3, 6, 2, 2))
    per_channel = {"gamma": rng.normal(size=6), "beta": rng.normal(size=6), "mean": rng.normal(size=6)}
    per_feature = {"layer_gamma": rng.normal(size=x.shape[1:]), "layer_beta": rng.normal(size=x.shape[1:])}
    other = {"variance": rng.random(6) + 0.5, "dy": rng.normal(size=x.shape), "rms_gamma": rng.normal(size=2)}
    # Mini-batches of images, of unequal size.
    images = [rng.normal([[[5.0]], [[-2.0]], [[0.0]]], 3.0, (n, 3, 2, 2)) for n in (7, 2, 5, 11)]
    case = next(
        c for c in json.loads(CASES.read_text("utf-8"))["cases"] if c["name"] == "syncbatchnorm_combine_three_ranks"
    )
    ranks = [row for rank in case["inputs"]["rank_inputs"] for row in rank]
    return {"x": x, **per_channel, **per_feature, **other, "images": images, "ranks": np.array(ranks, dtype=float)}


def outputs(given: dict[str, Any]) -> dict[str, Any]:
    """Return what PyTorch makes of them, in double precision."""
    import torch

    functional = torch.nn.functional
    tensors = {name: torch.tensor(np.asarray(v), dtype=torch.float64) for name, v in given.items() if name != "images"}
    x, gamma, beta, mean, variance = (tensors[name] for name in ("x", "gamma", "beta", "mean", "variance"))
    results: dict[str, Any] = {}
    for name, part in {"2d": x, "1d with places": x[:, :, :, 0], "1d": x[:, :, 0, 0]}.items():
        layer = {"weight": gamma, "bias": beta, "eps": 1e-3}
        results[f"trained {name}"] = functional.batch_norm(part, None, None, training=True, **layer)
        results[f"evaluated {name}"] = functional.batch_norm(part, mean, variance, **layer)

    leaves = [v.clone().requires_grad_() for v in (x, gamma, beta)]
    out = functional.batch_norm(leaves[0], None, None, leaves[1], leaves[2], training=True, eps=1e-4)
    out.backward(tensors["dy"])
    results |= {name: leaf.grad for name, leaf in zip(("dx", "dgamma", "dbeta"), leaves, strict=True)}

    shape = x.shape[1:]
    results["layer"] = functional.layer_norm(x, shape, tensors["layer_gamma"], tensors["layer_beta"], 1e-5)
    results |= {f"group {n}": functional.group_norm(x, n, gamma, beta, 1e-5) for n in GROUPS}
    results["instance"] = functional.instance_norm(x, weight=gamma, bias=beta, eps=1e-5)
    results["rms"] = functional.rms_norm(x, (2,), tensors["rms_gamma"], 1e-6)
    results |= {f"normalize {p}": functional.normalize(x, p, dim=-1, eps=0.0) for p in ORDERS}

    rows = x.reshape(18, 4)
    results["spectral"] = torch.linalg.matrix_norm(rows, 2)
    results["renorm"] = torch.renorm(rows, 2, 0, 6.0)
    for clip in CLIPS:
        parameters = [part.clone().requires_grad_() for part in (x[0], x[1:])]
        for parameter in parameters:
            parameter.grad = parameter.detach().clone()
        results[f"global norm {clip}"] = torch.nn.utils.clip_grad_norm_(parameters, clip)
        results[f"clipped {clip}"] = torch.cat([parameter.grad.reshape(-1) for parameter in parameters])

    for momentum in MOMENTA:
        layer = torch.nn.BatchNorm2d(3, momentum=momentum).double()
        for batch in given["images"]:
            layer(torch.tensor(np.asarray(batch)))
        results[f"running mean {momentum}"], results[f"running var {momentum}"] = layer.running_mean, layer.running_var
    layer = torch.nn.BatchNorm1d(2).double()
    layer(tensors["ranks"])
    results["running mean ranks"], results["running var ranks"] = layer.running_mean, layer.running_var
    return {name: value.detach().numpy() for name, value in results.items()}


def read() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the inputs and PyTorch's outputs that are kept."""
    kept = json.loads(PATH.read_text("utf-8"))
    given = {name: np.array(v) for name, v in kept["inputs"].items() if name != "images"}
    given["images"] = [np.array(batch) for batch in kept["inputs"]["images"]]
    return given, {name: np.array(v) for name, v in kept["outputs"].items()}


def main() -> None:
    """Write them."""
    import torch

    given = inputs()
    results = {name: value.tolist() for name, value in outputs(given).items()}
    plain = {name: [b.tolist() for b in v] if name == "images" else v.tolist() for name, v in given.items()}
    text = {"pytorch": torch.__version__, "inputs": plain, "outputs": results}
    PATH.write_text(json.dumps(text).replace('"outputs"', '\n"outputs"').replace(', "', ',\n"') + "\n", "utf-8")


if __name__ == "__main__":
    main()
