"""The image of docker/, as far as it goes without Docker: files are linted, and its services run as plain processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jsonschema
import pytest
import websocket
import yaml
from packaging.requirements import Requirement

from processes import free_port
from test_gpu_configuration import known, parsed

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = {name: yaml.safe_load((DOCKER / name).read_text()) for name in ("compose.yaml", "compose.gpu.yaml")}
SERVICES = COMPOSE["compose.yaml"]["services"]
SCHEMA = json.loads((ROOT / "tests" / "cases" / "compose-spec.json").read_text())
REQUIREMENTS = {"requirements.txt": ["connect"], "requirements-gpu.txt": ["connect", "gpu12"]}  # and the extras
SCRIPTS = [p for p in sorted((DOCKER / "bin").iterdir()) if p.read_text().startswith("#!/bin/sh")]
PATH = os.pathsep.join([str(DOCKER / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
pytestmark = [pytest.mark.third_party, pytest.mark.classic_only]


def run(*command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, **options)


# Files.


def test_the_dockerfile_passes_its_linter():
    """Pinned packages, no root, no rests of apt and pip in layers: hadolint."""
    done = run("hadolint", DOCKER / "Dockerfile", env={"PATH": PATH})

    assert (done.returncode, done.stdout) == (0, "")


def test_scripts_pass_their_linter():
    """Shellcheck, for the shell that is there: POSIX's."""
    done = run("shellcheck", *SCRIPTS, env={"PATH": PATH})

    assert {p.name for p in SCRIPTS} == {"list-gpus", "start-connect", "start-jupyter", "start-master", "start-worker"}
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_files_follow_the_specification(name):
    """By its JSON schema."""
    jsonschema.Draft7Validator(SCHEMA).validate(COMPOSE[name])


def test_the_schema_finds_a_misspelt_key():
    """So that the check above means something."""
    wrong = {"services": {"master": {"image": "sparkscale:cpu", "dependson": ["worker"]}}}

    with pytest.raises(jsonschema.ValidationError, match="dependson"):
        jsonschema.Draft7Validator(SCHEMA).validate(wrong)


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_runs_a_script_and_is_checked(name):
    """Both are in docker/bin, and executable."""
    command, check = SERVICES[name]["command"], SERVICES[name]["healthcheck"]["test"]

    assert check == ["CMD", "healthcheck.py", name]
    assert all(os.access(DOCKER / "bin" / script, os.X_OK) for script in (command[0], check[1]))


def test_ports_are_open_to_this_machine_alone():
    """Spark asks nobody who comes."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_context_has_what_the_image_copies():
    """Every source exists, and .dockerignore lets it in."""
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = re.findall(
        r"^COPY (?:--\S+ )?(.*) \S+$", DOCKERFILE.replace("${REQUIREMENTS}", "requirements.txt"), re.MULTILINE
    )
    sources = " ".join(lines).split()

    assert len(sources) == 12
    assert [s for s in sources if not (ROOT / s).exists() or s.split("/")[0] not in admitted] == []


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_the_image_has_what_sparkscale_needs(name):
    """Each dependency is pinned, to a version that it asks for."""
    text = (ROOT / "pyproject.toml").read_text()
    wanted = json.loads(re.search(r"^dependencies = (\[.*\])$", text, re.MULTILINE)[1])
    for extra in REQUIREMENTS[name]:
        wanted += json.loads(re.search(rf"^{extra} = (\[.*\])$", text, re.MULTILINE)[1])
    lines = (DOCKER / name).read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))

    assert len(pins) > 50
    assert [w for w in map(Requirement, wanted) if pins[w.name] not in w.specifier] == []


def test_paths_and_versions_agree():
    """One version of the accelerator, and of Python, in all files that name one."""
    confs = [p.read_text() for p in (*DOCKER.glob("*.conf"), *(ROOT / "examples" / "gpu").glob("*.conf"))]
    texts = "\n".join([DOCKERFILE, *confs])

    assert len(set(re.findall(r"rapids-4-spark_2\.13-[\d.]+\d", texts))) == 1
    assert len({*re.findall(r"FROM python:(\d\.\d+)", texts), *re.findall(r"lib/python(\d\.\d+)/", texts)}) == 1


@pytest.mark.parametrize("name", ["spark-defaults.conf", "gpu.conf"])
def test_spark_knows_every_key(spark, name):
    """A misspelt one would be ignored without a word."""
    keys = [key for key, _ in parsed(DOCKER / name)]

    assert keys
    assert [key for key in keys if key != "spark.master" and not known(spark, key)] == []  # not in Spark's registry


@pytest.mark.parametrize("name", COMPOSE)
def test_an_executor_fits_into_a_worker(name):
    """Else applications would wait for ever."""
    files = [DOCKER / "spark-defaults.conf"]
    if "gpu" in name:  # as the Dockerfile puts them together
        files += [ROOT / "examples" / "gpu" / "standalone-rapids.conf", DOCKER / "gpu.conf"]
    confs = dict(pair for file in files for pair in parsed(file))
    worker = COMPOSE[name]["services"]["worker"]["environment"]
    memory = worker["SPARK_WORKER_MEMORY"], confs["spark.executor.memory"]
    there, needed = (int(size.removesuffix("g")) for size in memory)

    assert int(worker["SPARK_WORKER_CORES"]) >= int(confs["spark.executor.cores"])
    assert there >= needed


@pytest.mark.parametrize(
    ("printed", "expected"), [("0\n", '["0"]'), ("0\n1\n", '["0","1"]'), ("", "[]")], ids=["one", "two", "none"]
)
def test_gpus_are_listed_as_spark_wants_them(tmp_path, printed, expected):
    """Of what nvidia-smi finds."""
    (tmp_path / "printed").write_text(printed)
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat {tmp_path}/printed\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    done = run(DOCKER / "bin" / "list-gpus", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True)

    assert done.stdout == f'{{"name":"gpu","addresses":{expected}}}\n'


def test_no_driver_is_no_empty_list(tmp_path):
    """Where nvidia-smi fails, so does the discovery, and Spark says so."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'no driver' >&2\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    done = run(DOCKER / "bin" / "list-gpus", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})

    assert (done.returncode, done.stdout) == (9, "")


# Services, each by its script.


MASTER = "spark://master:7077"


def surroundings(folder: Path) -> dict[str, str]:
    """Return an environment like the image's, but for ports that are free here and the loopback device."""
    ports = ("SPARK_MASTER_PORT", "SPARK_MASTER_WEBUI_PORT", "SPARK_WORKER_WEBUI_PORT", "CONNECT_PORT", "JUPYTER_PORT")
    env = {name: free_port() for name in ports}
    env |= dict.fromkeys(("SPARK_LOCAL_IP", "SPARK_MASTER_HOST", "CONNECT_HOST", "JUPYTER_HOST"), "127.0.0.1")
    env |= {k: os.environ[k] for k in ("JAVA_HOME", "LANG") if k in os.environ}
    env |= {"PATH": PATH, "HOME": str(folder), "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    env |= {"SPARK_CONF_DIR": str(folder), "SPARK_WORKER_DIR": str(folder / "applications"), "JUPYTER_TOKEN": ""}
    defaults = (DOCKER / "spark-defaults.conf").read_text()
    assert MASTER in defaults
    (folder / "spark-defaults.conf").write_text(defaults.replace(MASTER, master_of(env)))
    return env


def master_of(env: dict[str, str]) -> str:
    return f"spark://127.0.0.1:{env['SPARK_MASTER_PORT']}"


@contextmanager
def service(name: str, env: dict[str, str]) -> Iterator[Path]:
    """Start a service as compose.yaml does, give its log, and end it as ``docker stop`` does."""
    extra = ["--allow-root"] if name == "jupyter" and os.getuid() == 0 else []
    number = len(list(Path(env["HOME"]).glob("*.log")))
    log = Path(env["HOME"], f"{name}{number}.log")
    script, *args = [word.replace(MASTER, master_of(env)) for word in SERVICES[name]["command"]]
    with log.open("w") as out:
        process = subprocess.Popen(
            [DOCKER / "bin" / script, *args, *extra],
            env=env,
            cwd=env["HOME"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield log
        process.terminate()
        process.wait(timeout=30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def check(name: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the service's health check."""
    return run(sys.executable, DOCKER / "bin" / SERVICES[name]["healthcheck"]["test"][1], name, env=env)


def wait_until_healthy(name: str, env: dict[str, str], log: Path) -> None:
    for _ in range(60):
        done = check(name, env)
        if done.returncode == 0:
            return
        time.sleep(0.5)
    raise TimeoutError(done.stderr + log.read_text()[-4000:])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """All services of compose.yaml, healthy: the environment that they share."""
    folder = tmp_path_factory.mktemp("docker")
    env = surroundings(folder)
    size = SERVICES["worker"]["environment"]
    first = env | {k: size[k] for k in ("SPARK_WORKER_CORES", "SPARK_WORKER_MEMORY")}
    second = first | {"SPARK_WORKER_WEBUI_PORT": free_port()}
    with service("master", env) as log:
        wait_until_healthy("master", env, log)
        with (
            service("worker", first) as one,
            service("worker", second) as two,
            service("connect", env) as connect,
            service("jupyter", env) as jupyter,
        ):
            wait_until_healthy("worker", first, one)
            wait_until_healthy("worker", second, two)
            wait_until_healthy("connect", env, connect)
            wait_until_healthy("jupyter", env, jupyter)
            yield env | {"JUPYTER_LOG": str(jupyter)}


def token(log: str) -> str:
    """Return the token of the link that Jupyter prints."""
    return re.search(r"\?token=([0-9a-f]+)", Path(log).read_text())[1]


def request(env: dict[str, str], path: str, token: str | None, **options: Any) -> tuple[int, Any]:
    """Return the status and the JSON of Jupyter's answer."""
    headers = {"Authorization": f"token {token}"} if token is not None else {}
    try:
        with urlopen(Request(f"http://127.0.0.1:{env['JUPYTER_PORT']}{path}", headers=headers, **options)) as response:
            return response.status, json.loads(response.read() or "null")
    except HTTPError as refused:
        with refused:
            return refused.code, None


SCALE = """
from pyspark.sql import SparkSession
from sparkscale import StandardScaler

spark = {session}.getOrCreate()
df = spark.range(100, numPartitions={partitions}).selectExpr("double(id) x", "array(double(id), id * id) a")
model = StandardScaler(inputCols=["x", "a"], withMean=True).fit(df)
rows = model.transform(df).selectExpr("sum(x_scaled * x_scaled) x", "sum(a_scaled[1] * a_scaled[1]) a").collect()
print(model.count, round(rows[0].x, 9), round(rows[0].a, 9), spark.conf.get("spark.master"))
"""


def expected(env: dict[str, str]) -> str:
    """What that prints: the squares of standardized values add up to n - 1."""
    return f"100 99.0 99.0 {master_of(env)}"


@pytest.mark.slow
def test_spark_connect_scales_on_the_cluster(cluster):
    """A client of the server, with nothing but its address."""
    session = f"SparkSession.builder.remote('sc://127.0.0.1:{cluster['CONNECT_PORT']}')"
    code = SCALE.format(session=session, partitions=2)
    done = run(sys.executable, "-c", code, env=cluster)

    assert (done.returncode, done.stdout.strip()) == (0, expected(cluster)), done.stderr[-4000:]


@pytest.mark.slow
def test_a_notebook_scales_on_the_cluster(cluster):
    """``SparkSession.builder.getOrCreate()`` in a kernel of this Jupyter finds the cluster by itself."""
    secret = token(cluster["JUPYTER_LOG"])
    kernel = request(cluster, "/api/kernels", secret, data=b"{}", method="POST")[1]["id"]
    address = f"ws://127.0.0.1:{cluster['JUPYTER_PORT']}/api/kernels/{kernel}/channels?token={secret}"
    channel = websocket.create_connection(address, timeout=120)
    content = {"code": SCALE.format(session="SparkSession.builder", partitions=1), "silent": False}
    header = {"msg_id": "1", "msg_type": "execute_request", "session": "1", "username": "", "version": "5.3"}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    channel.send(json.dumps(message))
    printed, failure, answer = "", None, {"msg_type": None}
    while answer["msg_type"] != "execute_reply":
        answer = json.loads(channel.recv())
        if answer["msg_type"] == "stream" and answer["content"]["name"] == "stdout":
            printed += answer["content"]["text"]
        if answer["msg_type"] == "error":
            failure = answer["content"]
    channel.close()
    request(cluster, f"/api/kernels/{kernel}", secret, method="DELETE")

    assert failure is None
    assert printed.strip() == expected(cluster)


@pytest.mark.slow
def test_jupyter_makes_a_token_where_none_is_set(cluster):
    """And lets nobody in without it."""
    secret = token(cluster["JUPYTER_LOG"])

    assert len(secret) >= 32
    assert [request(cluster, "/api/contents", wrong)[0] for wrong in (None, "", "wrong")] == [403] * 3
    assert request(cluster, "/api/contents", secret)[0] == 200


@pytest.mark.slow
def test_jupyter_takes_the_token_that_is_set(tmp_path):
    """By JUPYTER_TOKEN, which compose.yaml hands on."""
    env = surroundings(tmp_path) | {"JUPYTER_TOKEN": "a secret of mine"}
    with service("jupyter", env) as log:
        wait_until_healthy("jupyter", env, log)
        answers = [request(env, "/api/contents", token)[0] for token in ("a secret of mine", "another", None)]

    assert answers == [200, 403, 403]


@pytest.mark.parametrize("name", SERVICES)
def test_the_check_of_a_service_that_is_down_fails(tmp_path, name):
    """With one line that says so."""
    done = check(name, surroundings(tmp_path))

    assert done.returncode == 1
    assert done.stderr.startswith(f"{name} is not healthy: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_worker_without_a_master_is_not_healthy(tmp_path):
    """Though it runs, and serves its page."""
    env = surroundings(tmp_path)
    with service("worker", env) as log:
        for _ in range(60):
            done = check("worker", env)
            if "no master" in done.stderr:
                break
            time.sleep(0.5)

    assert (done.returncode, done.stderr) == (1, "worker is not healthy: RuntimeError: the worker has no master\n"), (
        log.read_text()[-4000:]
    )
