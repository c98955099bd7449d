"""A standalone cluster of processes on this machine: a master and workers, of the classes in PySpark's wheel."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pyspark

HOME = Path(pyspark.__file__).parent


class Cluster:
    """Started by ``with``; ended with all its processes."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.folder, self.number, self.workers = folder, workers, []
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Cluster:  # noqa: PYI034  # Self needs Python 3.11
        try:
            return self._started()
        except BaseException:
            self.__exit__()
            raise

    def _started(self) -> Cluster:
        self.master = self._serve("Master", r"(spark://127\.0\.0\.1:\d+)", "--port", "0")
        for k in range(self.number):
            size = ("--cores", "1", "--memory", "1g", "--work-dir", str(self.folder / f"work{k}"))
            self._serve("Worker", "Successfully registered with master", *size, self.master)
            self.workers.append(self._processes[-1])
        return self

    def _serve(self, kind: str, pattern: str, *args: str) -> str:
        """Start a service, and return what it says when it is ready."""
        name = f"org.apache.spark.deploy.{kind.lower()}.{kind}"
        process, log = self._start("spark-class", name, "--host", "127.0.0.1", "--webui-port", "0", *args)
        for _ in range(600):
            match = re.search(pattern, log.read_text())
            if match:
                return match[0]
            if process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(log.read_text()[-4000:])

    def _start(self, program: str, *args: str, **env: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.folder / f"{len(self._processes)}.log"
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment |= {"SPARK_HOME": str(HOME), "SPARK_LOCAL_IP": "127.0.0.1", **env}
        command = [str(HOME / "bin" / program), *args]
        with log.open("w") as out:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        self._processes.append(process)
        return process, log

    def kill_worker(self, k: int) -> None:
        """End a worker and its executors at once."""
        os.killpg(self.workers[k].pid, signal.SIGKILL)

    def submit(self, *args: str, python: str, **env: str) -> Job:
        """Start spark-submit, with this Python for the executors."""
        return Job(*self._start("spark-submit", "--master", self.master, *args, PYSPARK_PYTHON=python, **env))

    def __exit__(self, *failure: object) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass(frozen=True)
class Job:
    """What was submitted."""

    process: subprocess.Popen[bytes]
    log: Path

    def runs(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        """Return both streams, once it has ended."""
        self.process.wait(timeout=240)
        return self.log.read_text()
