"""What the package promises by name."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from inspect import signature
from pathlib import Path

import click
import pytest
from pyspark.ml import Estimator, Model, Transformer
from pyspark.ml.param import Param, TypeConverters

import sparkscale
from sparkscale.cli import main
from sparkscale.errors import ParamError

SCALERS = (
    "BatchNorm",
    "ClipByGlobalNorm",
    "MaxAbsScaler",
    "MinMaxScaler",
    "PowerTransformer",
    "QuantileTransformer",
    "Quantizer",
    "RobustScaler",
    "SpectralNorm",
    "StandardScaler",
    "Whitener",
    "Winsorizer",
)
MODELS = tuple(f"{name}Model" for name in SCALERS)
ROWS = {  # what maps each row by itself, with its own Params and their defaults
    "ClipByNorm": {"clipNorm": None, "formula": "tensorflow"},
    "ClipByValue": {"low": None, "high": None},
    "GroupNorm": {
        "numGroups": None,
        "epsilon": 1e-5,
        "gamma": None,
        "beta": None,
        "shape": None,
        "dataFormat": "channelsFirst",
    },
    "InstanceNorm": {"epsilon": 1e-5, "gamma": None, "beta": None, "shape": None, "dataFormat": "channelsFirst"},
    "LayerNorm": {"epsilon": 1e-5, "gamma": None, "beta": None, "normalizedShape": None},
    "Normalizer": {"p": 2.0},
    "RMSNorm": {"epsilon": 1e-6, "gamma": None, "shape": None, "dataFormat": "channelsFirst"},
}

COLUMNS = {
    f"{verb}{name}"
    for verb in ("get", "set")
    for name in ("InputCol", "InputCols", "OutputCol", "OutputCols", "HandleInvalid", "Device")
}


def accessors(*names: str) -> set[str]:
    return {f"{verb}{name}" for verb in ("get", "set") for name in names}


LAYER = ("Epsilon", "Momentum", "Gamma", "Beta", "BatchCol", "WeightCol")
FIT = ("HandleEmpty",)  # of whatever is fitted
QUANTILES = ("Lower", "Upper", "RelativeError", "Interpolation")
FILL = (*FIT, "FillInvalid", "AddIndicator", "MaskValue")
GROUPS = ("AsOf", "GroupCols", "HandleUnseen", "MinGroupCount")
BY_KEY = (*FILL, *GROUPS, "Shape", "DataFormat")
GROUPED = ("BatchNorm", "MaxAbsScaler", "MinMaxScaler", "QuantileTransformer", "RobustScaler", "StandardScaler")
OWN_PARAMS = {
    "BatchNorm": accessors(*BY_KEY, *LAYER, "Statistics"),
    "ClipByGlobalNorm": accessors(*FIT, "ClipNorm", "Formula"),
    "RobustScaler": accessors(
        *BY_KEY, *QUANTILES, "HandleConstant", "WithCentering", "WithScaling", "UnitVariance", "Clip"
    ),
    "MaxAbsScaler": accessors(*BY_KEY, "HandleConstant", "Clip"),
    "MinMaxScaler": accessors(*BY_KEY, "HandleConstant", "Min", "Max", "Clip"),
    "PowerTransformer": accessors(*FILL, "Lambdas", "Method", "Standardize"),
    "QuantileTransformer": accessors(*FILL, *GROUPS, "NQuantiles", "OutputDistribution", "RelativeError"),
    "Quantizer": accessors(*FILL, *QUANTILES, "Dtype", "Scheme"),
    "SpectralNorm": accessors(*FIT),
    "StandardScaler": accessors(*BY_KEY, "HandleConstant", "WithMean", "WithStd", "Ddof", "WeightCol", "Clip"),
    "Whitener": accessors(*FIT, "Method", "Epsilon", "WithMean"),
    "Winsorizer": accessors(*FILL, *QUANTILES),
}
ONLY_OF_ESTIMATORS = accessors("Lambdas", "Statistics")
OWN_ATTRIBUTES = {
    "BatchNorm": {
        "normalizeBatches",
        "normalizingVar",
        "numBatchesTracked",
        "numChannels",
        "of",
        "runningMean",
        "runningVar",
        "runningVarBiased",
    },
    "ClipByGlobalNorm": {"globalNorm"},
    "RobustScaler": {"median", "of", "range"},
    "MaxAbsScaler": {"maxAbs", "of"},
    "MinMaxScaler": {"of", "originalMin", "originalMax"},
    "PowerTransformer": {"lambdas", "mean", "of", "std"},
    "QuantileTransformer": {"quantiles", "references"},
    "Quantizer": {"errorBound", "of", "ranges"},
    "SpectralNorm": {"spectralNorm"},
    "StandardScaler": {"mean", "of", "std"},
    "Whitener": {"mean", "whiteningMatrix"},
    "Winsorizer": {"clippedCounts", "lowerBound", "upperBound"},
}
STAGE = {"copy", "write", "save", "read", "load", "explainParams"}
MAPPING = {"affine", "inverse", "map", "toSQL", "transform"}
FITTED = {
    "constantFeatures",
    "count",
    "emptyFeatures",
    "featureNames",
    "invalidCounts",
    "inverseTransform",
    "report",
    "merge",
    "numFeatures",
    "plot",
    "statistics",
    "summary",
    "update",
}
DEFAULTS = {
    "BatchNorm": {
        "handleInvalid": "keep",
        "handleEmpty": "keep",
        "statistics": "population",
        "epsilon": 1e-5,
        "momentum": 0.1,
        "gamma": [1.0],
        "beta": [0.0],
    },
    "ClipByGlobalNorm": {"handleInvalid": "keep", "handleEmpty": "keep", "clipNorm": 1.0, "formula": "tensorflow"},
    "MaxAbsScaler": {"handleInvalid": "keep", "handleEmpty": "keep", "handleConstant": "collapse", "clip": False},
    "MinMaxScaler": {
        "handleInvalid": "keep",
        "handleEmpty": "keep",
        "handleConstant": "collapse",
        "clip": False,
        "min": 0.0,
        "max": 1.0,
    },
    "StandardScaler": {
        "handleInvalid": "keep",
        "handleEmpty": "keep",
        "handleConstant": "collapse",
        "withMean": False,
        "withStd": True,
        "ddof": 1,
        "clip": None,
    },
    "RobustScaler": {
        "handleInvalid": "keep",
        "handleEmpty": "keep",
        "handleConstant": "collapse",
        "lower": 0.25,
        "upper": 0.75,
        "withCentering": False,
        "withScaling": True,
        "unitVariance": False,
        "relativeError": 0.001,
        "interpolation": "none",
        "clip": None,
    },
    "PowerTransformer": {
        "handleInvalid": "keep",
        "handleEmpty": "keep",
        "method": "yeo-johnson",
        "standardize": True,
    },
    "QuantileTransformer": {
        "handleInvalid": "keep",
        "handleEmpty": "keep",
        "nQuantiles": 1000,
        "outputDistribution": "uniform",
        "relativeError": 0.001,
    },
    "Quantizer": {
        "handleInvalid": "keep",
        "handleEmpty": "keep",
        "dtype": "int8",
        "scheme": "affine",
        "lower": 0.0,
        "upper": 1.0,
        "relativeError": 0.001,
        "interpolation": "none",
    },
    "SpectralNorm": {"handleInvalid": "keep", "handleEmpty": "keep"},
    "Winsorizer": {
        "handleInvalid": "keep",
        "handleEmpty": "keep",
        "lower": 0.01,
        "upper": 0.99,
        "relativeError": 0.001,
        "interpolation": "none",
    },
    "Whitener": {"handleInvalid": "keep", "handleEmpty": "keep", "method": "pca", "epsilon": 0.0, "withMean": True},
}


MODULES = {  # beside the top level, what may be imported from where
    "affine": {"AffineMap", "MatrixMap"},
    "errors": {
        "BatchError",
        "ColumnNotFoundError",
        "ColumnTypeError",
        "DatasetError",
        "DeviceError",
        "EmptyDataError",
        "GroupError",
        "InvalidValueError",
        "OutputColumnError",
        "OutputExistsError",
        "ParamError",
        "ParamTypeError",
        "PersistenceError",
        "RangeOverflowError",
        "ScalingError",
        "SizeMismatchError",
        "WorkerEnvironmentError",
    },
    "export": {"to_keras", "to_torch"},
    "kernels": {
        "batch_norm",
        "batch_norm_backward",
        "batch_norm_train",
        "clip_by_global_norm",
        "clip_by_norm",
        "clip_by_value",
        "dequantize",
        "global_norm",
        "group_norm",
        "instance_norm",
        "inverse_power_transform",
        "inverse_quantile_transform",
        "layer_norm",
        "moments",
        "normalize",
        "power_transform",
        "quantile_transform",
        "quantize",
        "rms_norm",
        "spectral_norm",
        "whitening",
    },
    "statistics": {
        "BatchAverage",
        "BoxCoxMoments",
        "CoMoments",
        "Counts",
        "Extrema",
        "Fold",
        "Likelihood",
        "Mergeable",
        "Moments",
        "MovingAverage",
        "PerFeature",
        "PowerMoments",
        "Quantiles",
        "RunningMoments",
        "Squares",
        "Statistic",
        "StatisticSet",
        "YeoJohnsonMoments",
    },
}
MERGEABLE = {
    "arrays",
    "concat",
    "count",
    "from_arrays",
    "held",
    "invalid",
    "is_complete",
    "joint",
    "jointly",
    "merge",
    "names",
    "numbers",
    "separate",
    "split",
    "usual_numbers",
    "with_invalid",
}
STATISTIC = MERGEABLE | {
    "aggregates",
    "any_order",
    "chunks",
    "exact_aggregates",
    "in_metadata",
    "join_blocks",
    "missing",
    "of",
    "on_gpu",
    "of_aggregates",
    "of_both",
    "of_chunks",
}
RUNNING = MERGEABLE | {"batches", "kept", "mean", "mean_sum", "unbiased", "unbiased_sum", "variance", "variance_sum"}
IN_ROWS = STATISTIC | {
    "as_row",
    "fixed",
    "lists",
    "merge_ordered",
    "merge_rows",
    "of_lists",
    "of_row",
    "of_row_arrays",
    "row_arrays",
    "running",
    "scatter",
    "take",
    "take_features",
    "weighted",
    "weights",
}
PER_FEATURE = IN_ROWS | {"chunk_features", "in_chunks", "pooled", "raveled"}
BOUNDS = {"max", "min"}
MEMBERS = {
    "affine.AffineMap": {
        "apply",
        "arrays",
        "center",
        "concat",
        "divides",
        "identity",
        "inverse",
        "keeps_zero",
        "offset",
        "scale",
    },
    "affine.MatrixMap": {"apply", "back", "center", "inverse", "matrix", "offset"},
    "statistics.BatchAverage": RUNNING | {"of_batch", "of_batches"},
    "statistics.CoMoments": IN_ROWS | {"comoments", "covariance", "gram", "mean", "origin", "rows", "shift"},
    "statistics.Counts": PER_FEATURE,
    "statistics.Extrema": PER_FEATURE | BOUNDS,
    "statistics.Fold": {"NUMBERS", "PARTS", "add", "result"},
    "statistics.Mergeable": MERGEABLE,
    "statistics.Moments": PER_FEATURE
    | {"m2", "mean", "origin", "shift", "std", "unit", "variance", "weight", "weight_square"},
    "statistics.Likelihood": {"best", "bounds", "constant", "edge", "of_standardized", "sides", "standardized"},
    "statistics.MovingAverage": RUNNING | {"of_batch", "of_batches"},
    "statistics.RunningMoments": RUNNING,
    "statistics.PerFeature": PER_FEATURE,
    "statistics.PowerMoments": PER_FEATURE
    | {"depths", "high", "low", "m2", "mean", "min", "number", "shift", "sides", "span", "unit"},
    "statistics.Quantiles": PER_FEATURE
    | BOUNDS
    | {"above", "below", "capacity", "quantile", "relative_error", "sizes", "values", "within", "zeros"},
    "statistics.Squares": PER_FEATURE | BOUNDS | {"norm", "square", "unit"},
    "statistics.Statistic": STATISTIC,
    "statistics.StatisticSet": PER_FEATURE | {"classes", "of_classes", "select", "statistics"},
}
SESSION = {"--conf", "--debug", "--json", "--master", "--remote"}
READS = {"--format", "--read-option"}
WRITES = {"--output-format", "--overwrite", "--write-option"}
OF_INVERSE = {"--columns", "--input-col", "--input-cols", "--output-col", "--output-cols"}
COMMANDS = {  # fit has the scaler's Params beside these
    "compare": SESSION | {"FIRST", "SECOND", "--by", "--check", "--html", "--threshold"},
    "fit": SESSION | READS | {"INPUT", "--columns", "--exclude", "--output", "--overwrite", "--scaler"},
    "inverse": SESSION | READS | WRITES | OF_INVERSE | {"INPUT", "MODEL", "OUTPUT"},
    "merge": SESSION | {"MODEL MODEL...", "--output", "--overwrite"},
    "profile": SESSION
    | READS
    | {"INPUT", "--columns", "--exclude", "--group-cols", "--handle-invalid", "--output", "--overwrite"}
    | {"--relative-error", "--statistics", "--weight-col"},
    "show": SESSION | {"MODEL", "--sql"},
    "transform": SESSION | READS | WRITES | {"INPUT", "MODEL", "OUTPUT"},
    "update": SESSION | READS | {"INPUT", "MODEL", "--output", "--overwrite"},
}


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def own(cls: type) -> set[str]:
    """Return the public members of a stage that are neither Params nor inherited from Spark."""
    base = next(b for b in (Model, Estimator, Transformer) if issubclass(cls, b))
    return {n for n in public(cls) - public(base) if not isinstance(getattr(cls, n), Param)}


def new(names: set[str], base: type) -> set[str]:
    return names - public(base)


def test_all_lists_the_stages():
    """The package exports each scaler, its model, the inverse, sets, profiles, the sink of streams, the row-wise stages, and one function."""
    stages = sorted(
        [
            *SCALERS,
            *MODELS,
            "Comparison",
            "InverseModel",
            "Profile",
            "ScalerSet",
            "ScalerSetModel",
            "StreamingFit",
            *ROWS,
        ]
    )

    assert sparkscale.__all__ == [*stages, "columns"]
    assert all(isinstance(getattr(sparkscale, name), type) for name in stages)
    assert [*signature(sparkscale.columns).parameters] == ["df", "patterns", "exclude"]


@pytest.mark.parametrize("name", MODULES)
def test_modules_export_what_is_listed(name):
    """``__all__`` has these names, and no public class or function of the module's own is left out of it."""
    module = import_module(f"sparkscale.{name}")
    defined = {n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__ and callable(v)}

    assert set(module.__all__) == MODULES[name]
    assert {n for n in defined if not n.startswith("_") and isinstance(getattr(module, n), type)} <= MODULES[name]


@pytest.mark.parametrize("name", MEMBERS)
def test_maps_and_statistics_have_these_members_and_no_others(name):
    """Arrays, methods and properties that may be used without Spark."""
    module, _, own = name.partition(".")
    kind = getattr(import_module(f"sparkscale.{module}"), own)

    assert public(kind) | {*getattr(kind, "__dataclass_fields__", ())} == MEMBERS[name]


def test_the_command_line_has_these_commands_and_options():
    """Each with what it takes."""
    options = {
        name: {
            p.opts[0] if p.param_type_name == "option" else p.make_metavar(click.Context(command))
            for p in command.params
        }
        for name, command in main.commands.items()
    }

    assert options == COMMANDS


@pytest.mark.parametrize("name", ROWS)
def test_row_wise_stages_have_the_promised_methods_and_defaults(name):
    """One is used like a model, and has a keyword, a getter and a setter for each Param."""
    stage = getattr(sparkscale, name)()
    capitals = [n[0].upper() + n[1:] for n in ROWS[name]]
    promised = {f"{verb}{n}" for verb in ("get", "set") for n in capitals} | COLUMNS
    values = {
        "clipNorm": 2.0,
        "formula": "torch",
        "low": -1.0,
        "high": 1.0,
        "numGroups": 3,
        "epsilon": 0.5,
        "gamma": [2.0],
        "beta": [3.0],
        "shape": [3, 2],
        "normalizedShape": [4],
        "dataFormat": "channelsLast",
        "p": 1.0,
    }

    assert own(type(stage)) == new(promised | STAGE | {"setParams", "toSQL"}, Transformer)
    defaults = {n: stage.getOrDefault(n) if stage.isDefined(n) else None for n in ROWS[name]}
    assert defaults == ROWS[name]
    assert {p.name for p in stage.params if not stage.isSet(p)} == {p.name for p in stage.params}
    for param, capital in zip(ROWS[name], capitals, strict=True):
        assert getattr(stage, f"set{capital}")(values[param]) is stage
        assert getattr(getattr(sparkscale, name)(**{param: values[param]}), f"get{capital}")() == values[param]
        assert getattr(stage, f"get{capital}")() == values[param]
    with pytest.raises(TypeError, match="keyword"):
        getattr(sparkscale, name)("x")


@pytest.mark.parametrize("name", SCALERS)
def test_estimators_have_the_promised_methods(name):
    """In addition to the members of every estimator: setParams, and a getter and setter for each Param."""
    assert own(getattr(sparkscale, name)) == new({"setParams"} | STAGE | COLUMNS | OWN_PARAMS[name], Estimator)


@pytest.mark.parametrize("name", SCALERS)
def test_models_have_the_promised_methods(name):
    """A model has its estimator's getters and setters, what it learned, and what can be done with it."""
    params = OWN_PARAMS[name] - ONLY_OF_ESTIMATORS
    promised = {"setParams"} | STAGE | MAPPING | FITTED | COLUMNS | params | OWN_ATTRIBUTES[name]
    promised |= {"group", "groups", "numGroups"} if name in GROUPED else set()

    assert own(getattr(sparkscale, f"{name}Model")) == new(promised, Model)


def test_the_inverse_model_has_the_promised_methods():
    """The inverse transforms, is saved and loaded like any model, and gives back what it undoes."""
    params = accessors("Columns", "InputCol", "InputCols", "OutputCol", "OutputCols")

    assert own(sparkscale.InverseModel) == new(STAGE | MAPPING | params | {"forward"}, Model)


def test_profiles_and_sets_have_the_promised_members():
    """A profile is a value with its options; a set is a stage."""
    options = {"groupCols", "handleInvalid", "inputCols", "relativeError", "statistics", "weightCol"}
    ways = {"by", "compare", "decayed", "merge", "of", "replace", "summary", "table", "total", "where"}
    saved = {"load", "read", "save", "write"}

    assert public(sparkscale.Profile) == options | ways | saved | {"featureNames", "numFeatures", "numGroups"}
    assert own(sparkscale.ScalerSet) == new(STAGE | {"getStages", "setStages"}, Estimator)
    assert own(sparkscale.ScalerSetModel) == new(STAGE | {"profile", "stages", "transform"}, Model)


@pytest.mark.parametrize("name", SCALERS)
def test_defaults_are_the_documented_ones(name):
    """Without arguments an estimator has these Params set, by default, and no column."""
    scaler = getattr(sparkscale, name)()
    defaults = {p.name: scaler.getOrDefault(p) for p in scaler.params if scaler.hasDefault(p)}

    filling = (
        {"fillInvalid": None, "addIndicator": False, "maskValue": None} if "getFillInvalid" in OWN_PARAMS[name] else {}
    )
    by_key = {"handleUnseen": "global", "minGroupCount": 1} if name in GROUPED else {}
    shaped = {"dataFormat": "channelsFirst"} if "getShape" in OWN_PARAMS[name] else {}
    assert defaults == {**DEFAULTS[name], **filling, **by_key, **shaped, "device": "cpu"}
    assert [p.name for p in scaler.params if scaler.isSet(p)] == []


@pytest.mark.parametrize("name", SCALERS)
def test_constructors_take_keywords_only(name):
    """A positional argument is refused, as by every Spark ML stage."""
    with pytest.raises(TypeError, match="keyword"):
        getattr(sparkscale, name)("x")


@pytest.mark.parametrize("name", SCALERS)
def test_set_params_changes_what_it_names_and_nothing_else(name):
    """setParams leaves alone what it is not given, and returns the estimator."""
    scaler = getattr(sparkscale, name)(inputCol="x", handleInvalid="skip")

    assert scaler.setParams(outputCol="y") is scaler
    assert (scaler.getInputCol(), scaler.getOutputCol(), scaler.getHandleInvalid()) == ("x", "y", "skip")


@pytest.mark.parametrize("name", SCALERS)
def test_setters_set_what_getters_get(name):
    """Each setter returns its stage, and its getter then returns what was set."""
    scaler = getattr(sparkscale, name)()
    values = {
        "InputCol": "a",
        "OutputCol": "b",
        "InputCols": ["a", "b"],
        "OutputCols": ["c", "d"],
        "HandleInvalid": "error",
        "Device": "auto",
        "HandleConstant": "unit",
        "Clip": [-1.0, 2.0] if name in ("RobustScaler", "StandardScaler") else True,
        "Lower": 0.1,
        "Upper": 0.9,
        "RelativeError": 0.01,
        "Interpolation": "linear",
        "WithCentering": True,
        "WithScaling": False,
        "UnitVariance": True,
        "Min": -2.0,
        "Max": 3.0,
        "WithMean": True,
        "WithStd": False,
        "Ddof": 0,
        "WeightCol": "w",
        "ClipNorm": 2.0,
        "Formula": "torch",
        "Method": "zca",
        "Statistics": "moving",
        "Shape": [2, 3],
        "DataFormat": "channelsLast",
        "Epsilon": 1e-3,
        "Momentum": None,
        "Gamma": [2.0, 3.0],
        "Beta": [1.0, 0.0],
        "BatchCol": "step",
        "FillInvalid": "center",
        "AddIndicator": True,
    }
    known = {n: v for n, v in values.items() if f"set{n}" in COLUMNS | OWN_PARAMS[name]}

    assert all(getattr(scaler, f"set{n}")(v) is scaler for n, v in known.items())
    assert {n: getattr(scaler, f"get{n}")() for n in known} == known


def test_outputs_left_out_are_named_after_the_inputs():
    """Without outputs, ``<input>_scaled`` is the output's name."""
    assert sparkscale.MinMaxScaler(inputCol="x").getOutputCol() == "x_scaled"
    assert sparkscale.MinMaxScaler(inputCols=["x", "y"]).getOutputCols() == ["x_scaled", "y_scaled"]


def test_version_is_that_of_the_distribution():
    """``__version__`` is what the installer knows."""
    assert sparkscale.__version__ == version("sparkscale")


def test_the_changelog_tells_of_this_version():
    """Versions are semantic, the newest entry is of this one, and its changes are sorted under known headings."""
    text = (Path(__file__).parent.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\] - (?:Unreleased|\d{4}-\d{2}-\d{2})$", text, re.MULTILINE)

    assert re.fullmatch(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?", sparkscale.__version__)
    assert versions[:1] == [sparkscale.__version__]
    assert len(versions) == text.count("\n## ")
    assert {*re.findall(r"^### (.+)$", text, re.MULTILINE)} <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }


def test_the_package_is_typed():
    """Type checkers read the package's own annotations."""
    assert files("sparkscale").joinpath("py.typed").is_file()


def pure_modules() -> list[Path]:
    root = Path(sparkscale.__file__).parent
    return [root / f"{name}.py" for name in ("affine", "arrays", "blocks", "errors", "layout", "logarithms")] + sorted(
        (root / "statistics").glob("*.py")
    )


@pytest.mark.parametrize("path", pure_modules(), ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_the_lower_layers_import_only_numpy_and_each_other(path):
    """Maps, blocks, statistics and errors run where there is no Spark; one module knows CuPy."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            imported.add(node.module)
    allowed = {"numpy", "array_api_compat", *sys.stdlib_module_names}
    names = ("affine", "arrays", "blocks", "errors", "layout", "logarithms", "statistics")
    ours = tuple(f"sparkscale.{name}" for name in names)
    allowed |= {"cupy", "rmm"} if path.stem == "arrays" else set()  # within functions that only workers call
    foreign = {m for m in imported if m.partition(".")[0] not in allowed and not m.startswith(ours)}

    assert foreign == set()


ON_DRIVER = """
import sys, pyspark.ml, pyspark.sql.pandas.functions  # PySpark's own imports, of pandas from 4.1 on
sys.modules["pandas"] = None  # an import of it fails
import sparkscale, sparkscale.cli.actions
print(*(getattr(sparkscale, name).__name__ for name in sparkscale.__all__))
"""
IN_WORKER = """
import sys, pyspark.worker, sparkscale.spark.fit.batches, sparkscale.spark.fit.scan
print({"pandas", "pyspark.ml"} & {*sys.modules})
"""


@pytest.mark.parametrize(("code", "printed"), [(ON_DRIVER, " ".join(sparkscale.__all__)), (IN_WORKER, "set()")])
def test_pandas_is_imported_for_tables_only(code, printed):
    """On the driver by what shows tables, and not by what unpickles a fit in a worker."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.stdout.strip(), done.returncode) == (printed, 0), done.stderr


NESTED = functools.reduce(lambda inner, _: [inner], range(100_000), 1)
TOO_LARGE = {"int": 2**31, "long": -(2**63), "beyond": 2**70, "float": 1e308, "no double": 10**400, "no text": 10**5000}
UNUSABLE = TOO_LARGE | {"bool": True, "fraction": 2.5, "nan": float("nan"), "nested": NESTED, "text": "2"}


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize(
    ("name", "param"), [("GroupNorm", "numGroups"), ("RMSNorm", "shape"), ("LayerNorm", "normalizedShape")]
)
def test_integers_are_in_the_range_of_sparks(name, param, case):
    """The constructor, a setter, ``copy`` with other Params and what loading calls refuse a value in the same words."""
    value = UNUSABLE[case] if param == "numGroups" else [UNUSABLE[case]]
    stage = getattr(sparkscale, name)()
    ways = (
        lambda: type(stage)(**{param: value}),
        lambda: getattr(stage, f"set{param[0].upper()}{param[1:]}")(value),
        lambda: stage.copy({stage.getParam(param): value}),
        lambda: stage.set(stage.getParam(param), value),
    )

    for way in ways:
        with pytest.raises(
            ParamError,
            match=rf"^{name}: {param} must (be (an? \w+|a list of integers)|not exceed 2147483647.*)\. Got",
        ):
            way()


@pytest.mark.parametrize("case", ["no double", "no text", "nested", "text", "bool"])
@pytest.mark.parametrize("name", [*SCALERS, *ROWS])
def test_numbers_are_doubles(name, case):
    """Single ones and those of lists."""
    stage = getattr(sparkscale, name)()
    wrapped = {TypeConverters.toFloat: UNUSABLE[case], TypeConverters.toListFloat: [UNUSABLE[case]]}

    for param in stage.params:
        if param.typeConverter in wrapped:
            with pytest.raises(ParamError, match=rf"^{name}: {param.name} must be a (number|list of numbers)\. Got"):
                stage.setParams(**{param.name: wrapped[param.typeConverter]})


@pytest.mark.parametrize("shape", [[2**16, 2**16], [2**31 - 1, 2]], ids=str)
def test_a_shape_is_that_of_an_array_of_spark(shape):
    """The product counts."""
    with pytest.raises(ParamError, match="a list of positive integers, whose product is at most 2147483647"):
        sparkscale.RMSNorm(shape=shape)._check_params()
