"""The metadata of saved stages: class, uid and Params."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReader

from sparkscale.spark.storage import MalformedError, typed_entry

__all__ = ["class_name", "params_of", "public", "with_params"]


def class_name(stage: type) -> str:
    """Return the name to load a class by: the public one for our own."""
    ours = stage.__module__.startswith("sparkscale.")
    return f"{'sparkscale' if ours else stage.__module__}.{stage.__name__}"


def public(name: Any) -> Any:
    """Return the public class of ours that has this full name, or ``None``: nothing else is imported."""
    package, _, own = str(name).rpartition(".")
    ours = import_module("sparkscale.scalers")
    return getattr(ours, own) if package == "sparkscale" and own in ours.__all__ else None


def params_of(stage: Params) -> dict[str, Any]:
    """Return uid and Params as Spark ML's metadata has them."""
    return {
        "class": class_name(type(stage)),
        "uid": stage.uid,
        "paramMap": {p.name: v for p, v in stage._paramMap.items()},
        "defaultParamMap": {p.name: v for p, v in stage._defaultParamMap.items()},
    }


def with_params(stage: Any, metadata: Mapping[str, Any]) -> Any:
    """Give a new stage the saved uid and Params."""
    stage._resetUid(typed_entry(metadata, "uid", str))
    saved = {name: typed_entry(metadata, name, dict) for name in ("paramMap", "defaultParamMap")}
    unknown = [name for params in saved.values() for name in params if not stage.hasParam(name)]
    if unknown:
        raise MalformedError(f"{type(stage).__name__} has no Param {unknown[0]!r}")
    DefaultParamsReader.getAndSetParams(stage, {"sparkVersion": "4.0.0", **saved})
    return stage
