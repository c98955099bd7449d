"""Give the batch normalization of a PyTorch network the statistics of all its training data, taken in Spark.

While a network is trained, its batch normalization keeps moving averages over small batches. "Precise" statistics are
those of all training rows under the final weights. The example

1. trains a small convolutional network on scikit-learn's digits, 1 x 8 x 8 pixels each, in batches of 16,
2. computes in Spark what every training image brings to the layer, 8 channels of 6 x 6, and fits `BatchNorm` on it,
3. exports the fitted model as the network's `BatchNorm2d`,
4. compares with statistics that PyTorch computes over the whole set in one go.

Run ``python examples/batch_norm_digits.py``, with ``--remote`` on Spark Connect. It needs PyTorch and scikit-learn.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from pyspark.sql import DataFrame, SparkSession
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sparkscale import BatchNorm
from sparkscale.export import to_torch

CHANNELS, SIDE = 8, 6


class Network(nn.Module):
    """Convolution, batch normalization, rectification and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, CHANNELS, 3, bias=False)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.linear = nn.Linear(CHANNELS * SIDE * SIDE, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores of the ten digits."""
        return self.linear(torch.relu(self.norm(self.convolution(images))).flatten(1))


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Batch normalization from Spark to PyTorch.")
    parser.add_argument("--remote", nargs="?", const="local[*]", help="use Spark Connect; own server, or a URL")
    spark = make_session(parser.parse_args().remote)
    images, digits = load_digits(return_X_y=True)
    train, test, train_digits, test_digits = train_test_split(images / 16.0, digits, test_size=0.3, random_state=0)
    network = trained(train, train_digits)

    rows = spark.createDataFrame(pd.DataFrame({"pixels": list(train)}))
    gamma, beta = (p.tolist() for p in (network.norm.weight, network.norm.bias))
    scaler = BatchNorm(inputCol="activations", shape=[CHANNELS, SIDE, SIDE], gamma=gamma, beta=beta)
    model = scaler.fit(activations(rows, network))
    print(
        f"{model}\n{model.summary()[['count', 'runningMean', 'runningVar']].to_string(float_format='{:.5f}'.format)}\n"
    )

    precise, by_torch = copy.deepcopy(network), copy.deepcopy(network)
    precise.norm = to_torch(model)
    with torch.no_grad():
        whole = network.convolution(tensor(train)).double()
        by_torch.norm.running_mean.copy_(whole.mean((0, 2, 3)))
        by_torch.norm.running_var.copy_(whole.var((0, 2, 3), correction=0))
    scores = {}
    for name, candidate in (("moving averages", network), ("sparkscale", precise), ("PyTorch, whole set", by_torch)):
        with torch.no_grad():
            scores[name] = candidate(tensor(test))
        accuracy = float((scores[name].argmax(1).numpy() == test_digits).mean())
        print(f"{name:<20} accuracy on {len(test)} test images: {accuracy:.4f}")
    difference = float((scores["sparkscale"] - scores["PyTorch, whole set"]).abs().max())
    print(f"largest difference of a score, sparkscale and PyTorch: {difference:.1e}")
    assert difference < 1e-4, "the exported layer differs from PyTorch's own statistics"
    spark.stop()


def trained(images: np.ndarray, digits: np.ndarray) -> Network:
    """Train for three epochs, always the same way."""
    torch.manual_seed(0)
    network = Network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        for batch in torch.randperm(len(images)).split(16):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(tensor(images)[batch]), torch.as_tensor(digits)[batch])
            loss.backward()
            optimizer.step()
    return network.eval()


def activations(rows: DataFrame, network: Network) -> DataFrame:
    """Compute, in Spark's workers, what each image brings to the batch normalization."""
    weight = network.convolution.weight.detach().numpy()

    def convolved(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            maps = nn.functional.conv2d(tensor(np.stack(batch["pixels"])), torch.as_tensor(weight))
            yield pd.DataFrame({"activations": list(maps.flatten(1).numpy())})

    return rows.mapInPandas(convolved, "activations array<float>")


def tensor(images: np.ndarray) -> torch.Tensor:
    """Return flat images as PyTorch's convolutions take them."""
    return torch.as_tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8)


def make_session(remote: str | None) -> SparkSession:
    """Start a quiet local Spark, or connect to one."""
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*pandas >= 3")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers need the packages of this environment
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
    options = " ".join(f"--conf {name}={value}" for name, value in quiet.items())
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", f"{options} pyspark-shell")
    builder = SparkSession.builder.appName("digits")
    return (builder.remote(remote) if remote else builder.master("local[*]")).getOrCreate()


if __name__ == "__main__":
    main()
