"""What a task in Python does first: its worker acknowledges at once, and collects no garbage among what was imported."""

from __future__ import annotations

import gc
import re
import socket
from collections import defaultdict
from pathlib import Path
from types import FunctionType, SimpleNamespace

import pytest
from pyspark.sql.types import LongType, StructType

import sparkscale
from sparkscale.spark import tasks


class Recording(socket.socket):
    """A socket that keeps which options were set."""

    options: list[tuple[int, int, int]]

    def setsockopt(self, *option):
        self.options = [*getattr(self, "options", []), option]
        super().setsockopt(*option)


def worker(sock, begin):
    """Stand for the function of PySpark's daemon that holds the socket."""
    begin()


@pytest.fixture
def in_daemon():
    """What calls a function as PySpark's daemon does."""
    module = {"__spec__": SimpleNamespace(name="pyspark.daemon")}
    return FunctionType(worker.__code__, module)


@pytest.fixture
def frozen(monkeypatch):
    """The freezes of a worker, which are not carried out here."""
    freezes = []
    monkeypatch.setattr(gc, "freeze", lambda: freezes.append(len(gc.get_objects())))
    monkeypatch.setattr(tasks, "_freezes", 0)
    return freezes


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux has this option")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_tcp_tasks_send_without_delay(in_daemon, family):
    with Recording(family) as connection:
        in_daemon(connection, tasks.begin)

        assert connection.options == [(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)]


def test_other_sockets_stay_as_they_are(in_daemon):
    """Unix sockets, and any other object of this name in the daemon."""
    with Recording(socket.AF_UNIX) as connection:
        in_daemon(connection, tasks.begin)
        in_daemon(None, tasks.begin)

        assert not hasattr(connection, "options")


def test_missing_socket_option_is_ignored(in_daemon):
    class Refusing(socket.socket):
        def setsockopt(self, *option):
            raise OSError(92, "Protocol not available")

    with Refusing(socket.AF_INET) as connection:
        in_daemon(connection, tasks.begin)


def test_imports_are_frozen_once_and_garbage_before(in_daemon, frozen, monkeypatch, request):
    """At most a few times, and only where there are many objects: others' garbage is still collected."""
    monkeypatch.setenv("SPARK_REUSE_WORKER", "1")
    request.addfinalizer(gc.enable)
    gc.disable()  # so that nothing but the task collects garbage
    gc.collect()
    monkeypatch.setattr(tasks, "MOST_OBJECTS", len(gc.get_objects()) + 1000)
    in_daemon(None, tasks.begin)
    assert frozen == []

    garbage = [[] for _ in range(2000)]
    for each in garbage:
        each.append(each)
    del garbage, each
    in_daemon(None, tasks.begin)
    assert len(frozen) == 1
    assert frozen[0] < tasks.MOST_OBJECTS

    monkeypatch.setattr(tasks, "MOST_OBJECTS", 0)
    for _ in range(5):
        in_daemon(None, tasks.begin)
    assert len(frozen) == tasks.MOST_FREEZES


def test_nothing_is_frozen_where_a_worker_has_one_task(in_daemon, frozen, monkeypatch):
    """Nor outside of workers."""
    monkeypatch.delenv("SPARK_REUSE_WORKER", raising=False)
    in_daemon(None, tasks.begin)
    monkeypatch.setenv("SPARK_REUSE_WORKER", "1")
    tasks.begin()

    assert frozen == []


def test_every_python_task_prepares_its_worker():
    """`mapInArrow` has one place, and so have Arrow and pandas UDFs, which begin by themselves."""
    sources = {path.name: path.read_text() for path in Path(sparkscale.__file__).parent.rglob("*.py")}

    assert [name for name, text in sources.items() if ".mapInArrow(" in text] == ["tasks.py"]
    assert [name for name, text in sources.items() if re.search(r"\b(pandas|arrow)_udf\(", text)] == ["udf.py"]
    assert not any(re.search(r"\.(mapIn|applyIn)(Pandas|Arrow)\(", sources[n]) for n in sources if n != "tasks.py")
    assert sources["udf.py"].count("def computed(") == sources["udf.py"].count("        tasks.begin()\n") == 2


@pytest.mark.parametrize("number", [pytest.param(20, marks=pytest.mark.core), 2000])
def test_a_worker_of_thousands_of_tasks_does_not_grow(spark, number):
    """Its imports are frozen, and cycles that tasks leave behind are collected."""

    def watched(batches):
        import gc
        import os
        import resource

        import pyarrow as pa

        for _ in batches:
            for _ in range(1000):
                cycle = []
                cycle.append(cycle)
            row = [
                os.getpid(),
                len(gc.get_objects()),
                gc.get_freeze_count(),
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            ]
            yield pa.record_batch([[value] for value in row], names=["pid", "objects", "frozen", "memory"])

    schema = StructType()
    for name in ("pid", "objects", "frozen", "memory"):
        schema.add(name, LongType())
    rows = tasks.map_in_arrow(spark.range(0, number, 1, number), watched, schema).collect()

    assert len(rows) == number
    of_worker = defaultdict(list)
    for row in rows:
        of_worker[row["pid"]].append(row)
    for sizes in of_worker.values():
        early, late = sizes[len(sizes) // 4], sizes[-1]
        assert late["frozen"] > tasks.MOST_OBJECTS
        assert late["objects"] <= early["objects"] + 1000  # what one task leaves behind
        assert late["memory"] <= early["memory"] + 4096  # kilobytes
