"""Ranks, powers and codes of eight bits."""

from pyspark.sql import DataFrame

import sparkscale
from benchmarks.timing import Measure, noop


def curves_case(df: DataFrame) -> dict[str, Measure]:
    """Return the measures of maps that are not affine; fits are compared with StandardScaler's, transforms with a read."""
    names = df.columns
    standard = sparkscale.StandardScaler(inputCols=names)
    uniform = sparkscale.QuantileTransformer(inputCols=names)
    normal = sparkscale.QuantileTransformer(inputCols=names, outputDistribution="normal")
    power = sparkscale.PowerTransformer(inputCols=names)
    models = {"Quantile": uniform.fit(df), "Quantile normal": normal.fit(df), "Power": power.fit(df)}
    return {
        "fit Power : StandardScaler": Measure(lambda: power.fit(df), lambda: standard.fit(df), 4.0),
        "fit Quantile : StandardScaler": Measure(lambda: uniform.fit(df), lambda: standard.fit(df)),
        **{
            f"transform {name} : plain read": Measure(
                lambda m=model: noop(m.transform(df)), lambda: noop(df), 3.0 if name == "Quantile" else None
            )
            for name, model in models.items()
        },
        "plain read": Measure(lambda: noop(df)),
    }


def quantizer_case(scalars: DataFrame, arrays: DataFrame) -> dict[str, Measure]:
    """Return the measures of quantization; what is compared with is our own scaler to a range."""
    measures = {}
    for kind, df in (("scalars", scalars), ("arrays", arrays)):
        codes, scaled = (s(inputCols=df.columns) for s in (sparkscale.Quantizer, sparkscale.MinMaxScaler))
        model, other = codes.fit(df), scaled.fit(df)
        measures[f"transform Quantizer, {kind} : MinMaxScaler"] = Measure(
            lambda m=model, d=df: noop(m.transform(d)), lambda m=other, d=df: noop(m.transform(d)), 1.1
        )
        measures[f"inverse Quantizer, {kind}"] = Measure(
            lambda m=model, d=df: noop(m.inverseTransform(m.transform(d).drop(*d.columns)))
        )
    return {**measures, "plain read": Measure(lambda: noop(arrays))}
