"""scikit-learn's numbers, kept as data so that tests compare with them where it is not installed.

``python tests/sklearn_numbers.py`` computes them anew. A test does so, too, and looks whether they are still the same.
"""

from __future__ import annotations

import json
import re
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).parent / "cases" / "sklearn.json"
FEATURES = 6
SCALERS: dict[str, tuple[str, dict[str, Any]]] = {  # by name of the output
    **{
        f"StandardScaler-{mean}-{std}": ("StandardScaler", {"with_mean": mean, "with_std": std})
        for mean, std in product((False, True), repeat=2)
    },
    **{
        f"MinMaxScaler-{low}-{high}-{clip}": ("MinMaxScaler", {"feature_range": (low, high), "clip": clip})
        for (low, high), clip in product(((0.0, 1.0), (-3.0, 7.5)), (False, True))
    },
    "MaxAbsScaler": ("MaxAbsScaler", {}),
    **{
        f"RobustScaler-{centering}-{scaling}": ("RobustScaler", {"with_centering": centering, "with_scaling": scaling})
        for centering, scaling in product((False, True), repeat=2)
    },
    "RobustScaler-10-80": ("RobustScaler", {"quantile_range": (10.0, 80.0), "unit_variance": True}),
}
POWERS = {"positive": "box-cox", "signed": "yeo-johnson"}  # methods by name of the input
WEIGHTED = ((True, True), (False, True), (True, False))  # with_mean and with_std


def inputs() -> dict[str, np.ndarray]:
    """Return features of several sizes: plain, with NaN, constant, zero, far from 0, and nothing but NaN."""
    given = {}
    for seed, (name, rows, size) in enumerate((("fitted", 60, 1.0), ("fresh", 20, 1.7))):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(rows, FEATURES)) * [1.0, 5.0, 0.0, 0.0, 1e-2, 1.0] + [0.0, -3.0, 4.25, 0.0, 1e3, 0.0]
        values[::3, 1] = np.nan
        values[:, 5] = np.nan
        given[name] = values * size
    rng = np.random.default_rng(3)
    skewed = [rng.gamma(2.0, size=80), rng.lognormal(0.0, 2.0, 80), rng.normal(5.0, 1.0, 80), rng.beta(5.0, 1.0, 80)]
    signed = [rng.normal(size=80), 3.0 - skewed[0], rng.standard_t(3.0, 80), np.round(skewed[1])]
    given |= {"positive": np.column_stack(skewed), "signed": np.column_stack([*skewed, *signed])}
    return {**given, "weights": np.random.default_rng(2).random(60) + 0.1}


def outputs(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what scikit-learn makes of them: of rows that fit did not see, and the way back."""
    from sklearn import preprocessing

    fitted, fresh, results = given["fitted"], given["fresh"], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own about the feature that is nothing but NaN
        for name, (kind, params) in SCALERS.items():
            scaler = getattr(preprocessing, kind)(**params).fit(fitted)
            results[f"scaled {name}"] = scaler.transform(fresh)
            results[f"restored {name}"] = scaler.inverse_transform(scaler.transform(fresh))
        for mean, std in WEIGHTED:
            scaler = preprocessing.StandardScaler(with_mean=mean, with_std=std)
            results[f"weighted {mean} {std}"] = scaler.fit(fitted, sample_weight=given["weights"]).transform(fresh)
        standard, ranges = preprocessing.StandardScaler().fit(fitted), preprocessing.MinMaxScaler().fit(fitted)
        results |= {"mean": standard.mean_, "variance": standard.var_, "count": standard.n_samples_seen_.astype(float)}
        for name, method in POWERS.items():
            power = preprocessing.PowerTransformer(method).fit(given[name])
            results |= {f"lambdas {method}": power.lambdas_, f"powers {method}": power.transform(given[name])}
        robust = preprocessing.RobustScaler().fit(fitted)
        results |= {"min": ranges.data_min_, "max": ranges.data_max_}
        results |= {"center": robust.center_, "scale": robust.scale_}
        results = {name: value.copy() for name, value in results.items()}  # which partial_fit would change
        results["updated"] = standard.partial_fit(fresh).transform(fresh)
    return results


def read() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the inputs and scikit-learn's outputs that are kept."""
    kept = json.loads(PATH.read_text("utf-8"))
    given, results = (
        {name: np.array(v, dtype=float) for name, v in kept[part].items()} for part in ("inputs", "outputs")
    )
    return given, results


def plain(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return arrays as lists, NaN as null."""
    return {name: np.where(np.isnan(v), None, v.astype(object)).tolist() for name, v in arrays.items()}


def main() -> None:
    """Write them."""
    import sklearn

    given = inputs()
    kept = {"scikit-learn": sklearn.__version__, "inputs": plain(given), "outputs": plain(outputs(given))}
    text = json.dumps(kept, indent=1, allow_nan=False)
    text = re.sub(r"\[[^][]+\]", lambda row: " ".join(row[0].split()), text)  # a row a line
    PATH.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
