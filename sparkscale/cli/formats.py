"""Formats of tables."""

from __future__ import annotations

__all__ = ["FORMATS", "format_of"]

FORMATS = ("parquet", "csv", "json", "orc", "table")


def format_of(name: str, format: str | None) -> str:
    """Return the format if it is given, else that of the file extension, else Parquet."""
    if format is not None:
        return format
    extension = name.rstrip("/").rpartition(".")[2].lower()
    return extension if extension in FORMATS and extension != "table" else "parquet"
