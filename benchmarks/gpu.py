"""Print, for each kind of column, the time of fit and transform on a GPU as a ratio to that on the CPU.

Needs CuPy and a device. Run with ``python -m benchmarks.gpu``; it takes the options of the other benchmark.
"""

import sys
from collections.abc import Callable
from typing import Any

import sparkscale
from benchmarks import data
from benchmarks.timing import Measure, noop, options_of, report, session


def stage_case(stage: Any, df: Any) -> dict[str, Measure]:
    """Return the measures of a stage, on the GPU and on the CPU."""
    both = [stage.copy().setDevice(device) for device in ("gpu", "cpu")]
    measures = {"plain read": Measure(lambda: noop(df))}
    if hasattr(stage, "fit"):
        fits = [lambda e=one: e.fit(df) for one in both]
        measures["fit"] = Measure(*fits)
        model = fits[1]()
        both = [model.copy().setDevice(device) for device in ("gpu", "cpu")]
    measures["transform"] = Measure(*(lambda t=one: noop(t.transform(df)) for one in both))
    return measures


def main() -> None:
    """Run the cases on both, or say what is missing."""
    options = options_of(__doc__)
    try:
        import cupy  # noqa: PLC0415  # the message says what to do

        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except Exception as failed:  # noqa: BLE001
        sys.exit(f"No device to measure: {failed}. Install CuPy (sparkscale[gpu12] or [gpu13]) where there is one.")
    print(name)
    spark, folder = session(**{"spark.sql.execution.arrow.maxRecordsPerBatch": "100000"}), options.folder

    def rows(n: int) -> int:
        return max(100, int(n * options.scale))

    standard = sparkscale.StandardScaler(withMean=True)
    on_arrays: dict[str, tuple[Any, int, int]] = {
        "StandardScaler": (standard.copy().setInputCol("a"), 64, 500_000),
        "MinMaxScaler": (sparkscale.MinMaxScaler(inputCol="a"), 64, 500_000),
        "LayerNorm": (sparkscale.LayerNorm(inputCol="a"), 64, 500_000),
        "Whitener": (sparkscale.Whitener(inputCol="a"), 512, 50_000),
        "Whitener, more features": (sparkscale.Whitener(inputCol="a"), 2048, 20_000),
        "SpectralNorm": (sparkscale.SpectralNorm(inputCol="a"), 512, 50_000),
    }
    cases: dict[str, Callable[[], dict[str, Measure]]] = {
        f"{title}, arrays, {n:,} x {size}": lambda s=stage, k=size, n=n: stage_case(
            s, data.arrays(spark, folder, k, rows(n))
        )
        for title, (stage, size, n) in on_arrays.items()
    }
    cases["StandardScaler, scalars, 10 columns x 2,000,000"] = lambda: stage_case(
        standard.copy().setInputCols([f"c{k}" for k in range(10)]), data.scalars(spark, folder, 10, rows(2_000_000))
    )
    cases["StandardScaler, dense vectors, 500,000 x 64"] = lambda: stage_case(
        standard.copy().setInputCol("v"), data.vectors(spark, folder, 64, rows(500_000))
    )
    report(cases, options, "GPU", "CPU")


if __name__ == "__main__":
    main()
