"""What tests need that start processes of their own."""

from __future__ import annotations

import os
import socket

LEFT_BY_SPARK = ("SPARK_REMOTE", "SPARK_LOCAL_REMOTE", "SPARK_CONNECT_MODE_ENABLED", "PYSPARK_SUBMIT_ARGS")


def undisturbed() -> dict[str, str]:
    """Return the environment without what the tests' own Spark left there."""
    return {name: value for name, value in os.environ.items() if name not in LEFT_BY_SPARK}


def free_port() -> str:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])
