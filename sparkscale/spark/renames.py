"""Replacing a table by a new one through renames, and completing that where it was interrupted."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from pyspark.sql import SparkSession

from sparkscale.spark import jvm, paths

__all__ = ["recover_path", "replace_path"]

TEMP_SUFFIX = re.compile(r"\.sparkscale_[0-9a-f]{12}")  # of the path to which a new table is written
OLD_SUFFIX, DELETED_SUFFIX = ".old", ".gone"  # of a replaced table, and of one that is being deleted


def replace_path(spark: SparkSession, source_path: str, path: str) -> None:
    """Move a complete table to its final path; a table that is there is renamed first, and deleted afterwards.

    Between the two renames the path does not exist. `recover_path` completes a run that was killed at that point.
    """
    files, source, target, old = jvm.files(spark, source_path, path, f"{source_path}{OLD_SUFFIX}")
    replaces = files.exists(target)
    try:
        if replaces:
            _rename(files, target, old)
        _rename(files, source, target)
    except BaseException as failure:
        complete = files.exists(target)
        if replaces and not complete:
            _rename(files, old, target)
        # Another run may have completed this one, assuming that it was killed.
        if not (isinstance(failure, OSError) and complete and not files.exists(source)):
            raise
    if replaces:
        _delete(files, old)


def recover_path(spark: SparkSession, path: str, stale_after: float) -> None:
    """Complete killed runs of `replace_path`, and remove their leftovers.

    If the path does not exist and an old table was renamed away, the new table is complete and is moved to the path;
    without a new table, the old one is moved back. If the path exists, old tables are deleted. A new table that has not
    been moved may belong to a running process: it is deleted only if nothing in it has changed for a long time.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        The session.
    path : str
        The path that a table is written to.
    stale_after : float
        Age in seconds from which a new table is considered abandoned.
    """
    path = path.rstrip("/")
    files, target = jvm.files(spark, path)
    parent = files.makeQualified(target).getParent()
    if parent is None or not files.exists(parent):
        return
    name = target.getName()
    glob = jvm.file_filter(spark, f"{paths.escaped(name)}.sparkscale_*")
    suffixes = [status.getPath().getName()[len(name) :] for status in files.listStatus(parent, glob)]
    suffixes = [s for s in suffixes if TEMP_SUFFIX.fullmatch(s.removesuffix(DELETED_SUFFIX).removesuffix(OLD_SUFFIX))]
    places = {suffix: jvm.files(spark, f"{path}{suffix}")[1] for suffix in suffixes}
    old = {suffix.removesuffix(OLD_SUFFIX) for suffix in places if suffix.endswith(OLD_SUFFIX)}
    if old and not files.exists(target):
        candidates = old & places.keys() or {f"{suffix}{OLD_SUFFIX}" for suffix in old}
        newest = max(candidates, key=lambda suffix: files.getFileStatus(places[suffix]).getModificationTime())
        try:
            _rename(files, places[newest], target)
        except OSError:
            if not files.exists(target):  # else a concurrent run has created it
                raise
    _remove_leftovers(files, target, places, time.time() - stale_after)


def _remove_leftovers(files: Any, target: Any, places: Mapping[str, Any], stale: float) -> None:
    """Delete old tables if the target exists, and new tables that have not changed since a time."""
    target_exists = files.exists(target)
    places = {suffix: place for suffix, place in places.items() if files.exists(place)}  # one may have been moved
    new = {suffix: place for suffix, place in places.items() if not suffix.endswith((OLD_SUFFIX, DELETED_SUFFIX))}
    in_use = {suffix for suffix, place in new.items() if not _is_older(files, place, stale)}
    for suffix, place in places.items():
        if suffix.endswith(OLD_SUFFIX) and target_exists and suffix.removesuffix(OLD_SUFFIX) not in in_use:
            _delete(files, place)
        elif suffix.endswith(DELETED_SUFFIX) or (suffix in new and suffix not in in_use):
            files.delete(place, True)


def _rename(files: Any, source: Any, target: Any) -> None:
    """Rename a path to one that does not exist; an existing folder would become its parent."""
    if files.exists(target) or not files.rename(source, target):
        raise OSError(f"'{source.toString()}' could not be renamed to '{target.toString()}'.")


def _delete(files: Any, old: Any) -> None:
    """Rename a replaced table before deleting it, so that no other run restores it half deleted."""
    if files.exists(old):  # else another run has deleted it
        renamed = old.suffix(DELETED_SUFFIX)
        _rename(files, old, renamed)
        files.delete(renamed, True)


def _is_older(files: Any, path: Any, when: float) -> bool:
    """Whether a folder and all files in it were last modified before a time."""
    if files.getFileStatus(path).getModificationTime() >= when * 1000:
        return False
    listed = files.listFiles(path, True)
    while listed.hasNext():
        if listed.next().getModificationTime() >= when * 1000:
            return False
    return True
