"""How a stage is printed."""

from __future__ import annotations

import json
import math
from typing import Any

import click

__all__ = ["print_comparison", "print_model", "print_profile"]


def print_model(model: Any, path: str, *, as_json: bool) -> None:
    """Print what a model has learned; of a stage that learns nothing, its Params."""
    summary = model.summary() if hasattr(model, "summary") else None
    rows = None if summary is None else model.count
    params = {p.name: model.getOrDefault(p) for p in model.params if model.isSet(p)}
    if as_json:
        features = [] if summary is None else _records(summary)
        described = {"class": type(model).__name__, "path": path, "uid": model.uid, "rows": rows, "params": params}
        click.echo(json.dumps({**described, "features": features}))
    elif summary is None:
        click.echo(f"{model!r}: {params}")
    else:
        click.echo(f"{model!r}, rows={rows}")
        click.echo(summary.to_string(float_format="{:.6g}".format))


def print_profile(profile: Any, path: str, *, as_json: bool) -> None:
    """Print what a profile holds, and the statistics of all its rows."""
    summary = profile.summary()
    if as_json:
        keys = {"groupCols": profile.groupCols, "numGroups": profile.numGroups}
        described = {"class": "Profile", "path": path, "statistics": profile.statistics, **keys}
        click.echo(json.dumps({**described, "features": _records(summary)}))
    else:
        click.echo(f"{profile!r}")
        click.echo(summary.to_string(float_format="{:.6g}".format))


def print_comparison(comparison: Any, *, as_json: bool) -> None:
    """Print the figures of a comparison."""
    if as_json:
        thresholds = {name: _finite_or_none(limit) for name, limit in comparison.thresholds.items()}
        click.echo(json.dumps({"thresholds": thresholds, "features": _records(comparison.table)}, default=str))
    else:
        click.echo(f"{comparison!r}")
        click.echo(comparison.table.to_string(float_format="{:.4g}".format))


def _records(table: Any) -> list[dict[str, Any]]:
    records = table.reset_index().to_dict("records")
    return [{name: _finite_or_none(value) for name, value in record.items()} for record in records]


def _finite_or_none(value: Any) -> Any:
    """Return ``None`` for a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
