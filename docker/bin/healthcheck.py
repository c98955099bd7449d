#!/usr/bin/env python3
"""Whether a service of this container does its work: ``healthcheck.py master|worker|connect|jupyter``.

Ends with 0 if so, else with 1 and a line that says why not.
"""

from __future__ import annotations

import json
import os
import sys
from urllib.request import ProxyHandler, build_opener

TIMEOUT = 4  # seconds, less than that of the container's check
DIRECT = build_opener(ProxyHandler({}))  # whatever proxy the container has for the world outside


def answer(port: str, path: str) -> dict[str, str]:
    """Return the JSON that this machine serves there."""
    with DIRECT.open(f"http://localhost:{port}{path}", timeout=TIMEOUT) as response:
        return json.load(response)


def master() -> None:
    """Look whether it leads the cluster."""
    status = answer(os.environ.get("SPARK_MASTER_WEBUI_PORT", "8080"), "/json/")["status"]
    if status != "ALIVE":
        raise RuntimeError(f"the master is {status}")


def worker() -> None:
    """Look whether it has registered with a master."""
    if not answer(os.environ.get("SPARK_WORKER_WEBUI_PORT", "8081"), "/json/")["masterurl"]:
        raise RuntimeError("the worker has no master")


def connect() -> None:
    """Look whether it speaks gRPC: more than an open port, and less than a session, which would stay."""
    import grpc  # noqa: PLC0415, only this service's check needs it

    server = f"localhost:{os.environ.get('CONNECT_PORT', '15002')}"
    with grpc.insecure_channel(server, [("grpc.enable_http_proxy", 0)]) as channel:
        grpc.channel_ready_future(channel).result(timeout=TIMEOUT)


def jupyter() -> None:
    """Look whether it serves its interface, of which this part needs no token."""
    answer(os.environ.get("JUPYTER_PORT", "8888"), "/api")


if __name__ == "__main__":
    check = {"master": master, "worker": worker, "connect": connect, "jupyter": jupyter}[sys.argv[1]]
    try:
        check()
    except Exception as error:  # noqa: BLE001, whatever it is, it is not healthy
        sys.exit(f"{sys.argv[1]} is not healthy: {type(error).__name__}: {error}")
