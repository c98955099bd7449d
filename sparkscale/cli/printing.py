"""How a stage is printed."""

from __future__ import annotations

import json
import math
from typing import Any

import click

__all__ = ["print_model"]


def print_model(model: Any, path: str, *, as_json: bool) -> None:
    """Print what a model has learned; of a stage that learns nothing, its Params."""
    summary = model.summary() if hasattr(model, "summary") else None
    rows = None if summary is None else model.count
    params = {p.name: model.getOrDefault(p) for p in model.params if model.isSet(p)}
    if as_json:
        records = [] if summary is None else summary.reset_index().to_dict("records")
        features = [{name: _finite_or_none(value) for name, value in record.items()} for record in records]
        described = {"class": type(model).__name__, "path": path, "uid": model.uid, "rows": rows, "params": params}
        click.echo(json.dumps({**described, "features": features}))
    elif summary is None:
        click.echo(f"{model!r}: {params}")
    else:
        click.echo(f"{model!r}, rows={rows}")
        click.echo(summary.to_string(float_format="{:.6g}".format))


def _finite_or_none(value: Any) -> Any:
    """Return ``None`` for a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
