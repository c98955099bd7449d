"""MLflow's Spark flavor: pipelines that hold our stages are logged, loaded, and served to clients without Spark.

MLflow copies models by way of this process's JVM, which a client of a Spark Connect server lacks: classic Spark alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.regression import LinearRegression

from processes import free_port
from sparkscale import LayerNorm, MinMaxScaler, StandardScaler, StandardScalerModel

pytestmark = [
    pytest.mark.third_party,
    pytest.mark.classic_only,
    pytest.mark.filterwarnings("ignore"),  # MLflow's, and Spark's while MLflow calls it
]


@pytest.fixture(scope="module")
def data(spark):
    """Forty rows on a plane, one value missing."""
    return spark.range(40).selectExpr(
        "nullif(double(id), 7D) AS x",
        "array(double(id), double((id * 7) % 11)) AS a",
        "3D * id - 2D * ((id * 7) % 11) + 5 AS label",
    )


@pytest.fixture(scope="module")
def pipeline(data):
    """An estimator's model, a row-wise stage, and Spark's regression after them."""
    stages = [
        LayerNorm(inputCol="a", outputCol="n"),
        StandardScaler(inputCols=["x", "a", "n"], outputCol="features", withMean=True, handleInvalid="skip"),
        LinearRegression(),
    ]
    return Pipeline(stages=stages).fit(data)


@pytest.fixture(scope="module")
def rows():
    """What a client has: a table of pandas."""
    return pd.DataFrame({"x": [3.0, 0.5, -8.0], "a": [[1.0, 2.0], [30.0, 4.0], [0.0, -5.0]]})


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Where MLflow keeps runs: in files, without a database."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def expected(spark, pipeline, rows):
    return [row["prediction"] for row in pipeline.transform(spark.createDataFrame(rows)).collect()]


@pytest.fixture(scope="module")
def saved(pipeline, rows, tmp_path_factory):
    """The folder that MLflow saved the pipeline to."""
    folder = tmp_path_factory.mktemp("mlflow")
    path = str(folder / "model")
    mlflow.spark.save_model(
        pipeline, path, input_example=rows, dfs_tmpdir=str(folder / "dfs"), pip_requirements=["sparkscale"]
    )
    return path


def test_a_pipeline_is_the_same_after_loading(spark, data, pipeline, saved, tmp_path):
    """The Spark flavor gives a PipelineModel back, with our models in it, that transforms as before."""
    loaded = mlflow.spark.load_model(saved, dfs_tmpdir=str(tmp_path))

    assert isinstance(loaded, PipelineModel)
    assert isinstance(loaded.stages[1], StandardScalerModel)
    assert loaded.stages[1].summary().equals(pipeline.stages[1].summary())
    assert loaded.transform(data).collect() == pipeline.transform(data).collect()


def test_the_signature_has_the_columns_of_the_example(saved):
    """From an input example MLflow infers what the pipeline takes and gives."""
    signature = mlflow.models.get_model_info(saved).signature

    assert {c["name"]: c["type"] for c in signature.inputs.to_dict()} == {"x": "double", "a": "array"}
    assert [c["type"] for c in signature.outputs.to_dict()] == ["double"]


def test_the_python_function_predicts_from_pandas(saved, rows, expected):
    """Loaded as a Python function, the pipeline takes a table of pandas and returns Spark's predictions."""
    assert mlflow.pyfunc.load_model(saved).predict(rows) == expected


def test_a_scaler_alone_is_a_model(data, rows, tmp_path):
    """A fitted scaler needs no pipeline around it, and its vector is the prediction."""
    scaler = MinMaxScaler(inputCols=["x", "a"], max=2.0).fit(data)
    mlflow.spark.save_model(scaler, str(tmp_path / "model"), dfs_tmpdir=str(tmp_path / "dfs"), pip_requirements=[])
    vectors = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(rows)

    assert [v.toArray().tolist() for v in vectors] == [
        pytest.approx([2 * x / 39, 2 * y / 39, 2 * z / 10]) for x, (y, z) in rows.to_numpy()
    ]


def test_a_logged_pipeline_is_loaded_from_its_run(data, pipeline, runs, tmp_path):
    """log_model stores the pipeline with the run's metrics; ``runs:/`` loads it."""
    with mlflow.start_run() as run:
        mlflow.spark.log_model(pipeline, artifact_path="model", dfs_tmpdir=str(tmp_path / "dfs"), pip_requirements=[])
    loaded = mlflow.spark.load_model(f"runs:/{run.info.run_id}/model", dfs_tmpdir=str(tmp_path / "dfs"))

    assert loaded.transform(data).collect() == pipeline.transform(data).collect()


def test_autologging_notes_our_params(data, runs):
    """With autologging on, a pipeline's fit goes on as ever, and its run has our Params among the others."""
    scaler = MinMaxScaler(inputCols=["x", "a"], outputCol="features", max=3.0, handleInvalid="skip")
    mlflow.pyspark.ml.autolog(log_models=False)
    try:
        with mlflow.start_run() as run:
            Pipeline(stages=[scaler, LinearRegression()]).fit(data)
    finally:
        mlflow.pyspark.ml.autolog(disable=True)
    noted = mlflow.get_run(run.info.run_id).data.params

    assert (noted["MinMaxScaler.max"], noted["MinMaxScaler.inputCols"]) == ("3.0", "['x', 'a']")


@pytest.fixture
def server(saved, tmp_path) -> Iterator[str]:
    """``mlflow models serve`` as a process of its own, with a Spark of its own."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", saved, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", port, "--workers", "1"]
    log = tmp_path / "server.log"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow looks there for uvicorn
    options = {"env": os.environ | {"PATH": path}, "start_new_session": True}
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, **options) as process:
        try:
            url, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{url}/ping", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < end, log.read_text()
                    time.sleep(0.2)
            yield url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=30)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_the_scoring_server_answers_a_client(server, rows, expected):
    """A client posts JSON over HTTP, and is answered with Spark's predictions."""
    body = json.dumps({"dataframe_split": rows.to_dict(orient="split", index=False)})
    request = urllib.request.Request(
        f"{server}/invocations", data=body.encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)

    assert answer["predictions"] == expected
