"""Columns of fitted models as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.storage import MalformedError, typed_entry

__all__ = ["from_json", "to_json"]

FIELDS = ("name", "kind", "single", "size", "attributes", "nested", "boolean")


def to_json(columns: Sequence[FeatureColumn]) -> list[dict[str, Any]]:
    """Return columns as they are saved."""
    return [{name: getattr(column, name) for name in FIELDS} for column in columns]


def from_json(saved: Sequence[Any]) -> list[FeatureColumn]:
    """Return columns that were saved."""
    return [_column(column) for column in saved]


def _column(saved: Any) -> FeatureColumn:
    name, kind = (typed_entry(saved, field, str) for field in ("name", "kind"))
    saved = {"boolean": False, **saved}  # unless it was saved by a version that knew none
    single, nested, boolean = (typed_entry(saved, field, bool) for field in ("single", "nested", "boolean"))
    size, attributes = typed_entry(saved, "size", int), saved.get("attributes")
    if kind not in ("scalar", "array", "vector") or size < 1 or (kind == "scalar" and size != 1):
        raise MalformedError(f"column {name!r} is of kind {kind!r} and size {size}")
    if attributes is not None:
        attributes = tuple(typed_entry(saved, "attributes", list))
        if len(attributes) != size or not all(isinstance(a, str) for a in attributes):
            raise MalformedError(f"attributes of column {name!r} are not {size} names")
    return FeatureColumn(name, kind, single, size, attributes, nested, boolean)
