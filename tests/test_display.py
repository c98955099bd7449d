"""What notebooks show of stages."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from models import learned
from sparkscale import (
    BatchNorm,
    BatchNormModel,
    ClipByGlobalNormModel,
    InverseModel,
    LayerNorm,
    MaxAbsScalerModel,
    MinMaxScalerModel,
    SpectralNormModel,
    StandardScaler,
    StandardScalerModel,
    WhitenerModel,
    scalers,
)
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import MovingAverage

NAMES = ["delay", "a<b>&c", "gate", "empty"]
ROWS = np.array([[1.0, 2.0, 7.0, np.nan], [np.nan, 4.0, 7.0, np.nan], [3.0, 9.0, 7.0, np.nan]])


class Reader(HTMLParser):
    """Checks that tags are closed, and collects the cells of the table."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.rows and "table" in self.open and "title" not in self.open:
            self.rows[-1][-1] += data


def read(stage) -> Reader:
    reader = Reader()
    reader.feed(stage._repr_html_())
    reader.close()
    assert reader.open == []
    return reader


def fitted(kind, rows=ROWS, names=NAMES, **params):
    """A model as fit would leave it, without Spark."""
    return learned(kind()._set(**params), rows, *names[: rows.shape[1]])


def test_a_model_shows_what_its_summary_has():
    """A row a feature, with the columns of summary; what is special about a feature is said in words."""
    model = fitted(StandardScalerModel)
    head, *rows = read(model).rows

    assert head == ["feature", *model.summary().columns.drop("constant"), "values", ""]
    assert [row[0] for row in rows] == NAMES
    assert rows[0][1:5] == ["2", "1", "2", "1.41421"]
    assert [row[-1] for row in rows] == ["33.3 % invalid", "", "constant", "no valid value"]


def test_markup_in_names_is_escaped():
    """Markup in the name of a column is shown, not obeyed."""
    shown = fitted(StandardScalerModel)._repr_html_()

    assert "a&lt;b&gt;&amp;c" in shown
    assert "a<b" not in shown


def test_set_params_are_marked():
    """Params at their default or without a value are not marked."""
    shown = StandardScaler(inputCol="x", withMean=True)._repr_html_()
    given, default, unset = (shown.index(word) for word in ("Set:", "Default:", "Not set:"))

    assert given < shown.index("inputCol=") < default
    assert given < shown.index("withMean=True") < default
    assert default < shown.index("withStd=True") < unset
    assert unset < shown.index(">weightCol<")


def test_thousands_of_features_show_twenty():
    """And how many there are, how many need a look, and few of their names."""
    rows = np.tile([[1.0], [2.0]], 3000)
    rows[:, 100:200] = 5.0
    shown = read(fitted(MinMaxScalerModel, rows, [f"x{i}" for i in range(3000)]))
    text = fitted(MinMaxScalerModel, rows, [f"x{i}" for i in range(3000)])._repr_html_()

    assert len(shown.rows) == 21
    assert "2 rows, 3,000 features" in text
    assert "2,980 more" in text
    assert "100 constant: x100, x101, x102, x103, x104 and 95 more." in text
    assert "… 3,000 in all]" in text
    assert len(text) < 20_000


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (StandardScalerModel, "mean 2, ± standard deviation 0.585786 to 3.41421"),
        (BatchNormModel, "mean 2, ± standard deviation 1 to 3"),
        (MinMaxScalerModel, "1 to 3"),
        (MaxAbsScalerModel, "1 to 3"),
        (ClipByGlobalNormModel, "1 to 3"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_marks_show_what_the_statistic_knows(kind, said):
    """Moments know mean and deviation, extrema the ends; a feature without a value has no mark."""
    shown = fitted(kind)._repr_html_()

    assert f"<title>{said}</title>" in shown
    assert shown.count("<svg") == 3


@pytest.mark.parametrize("kind", [WhitenerModel, SpectralNormModel], ids=lambda k: k.__name__)
def test_matrix_models_show_mean_and_deviation(kind):
    """Of the rows that make the matrix."""
    shown = fitted(kind, np.array([[1.0, 2.0], [3.0, 9.0]]), outputCol="out")._repr_html_()

    assert "<title>mean 2, ± standard deviation 0.585786 to 3.41421</title>" in shown


def test_batch_norm_shows_channels():
    """If the shape has channels, the table has one row for each channel, for every statistic."""
    model = BatchNormModel()
    model._set(inputCol="image", shape=[2, 3])
    one = np.ones(2)
    model._learn(
        [FeatureColumn("image", "array", False, 6)], MovingAverage(one, one, one, one, one, one, one), skips=False
    )

    assert [row[0] for row in read(model).rows] == ["feature", "image_channel_0", "image_channel_1"]
    assert "6 features in 2 channels" in model._repr_html_()


def test_a_model_that_has_learned_nothing_says_so():
    """It has no table."""
    shown = read(StandardScalerModel())

    assert "has learned nothing" in StandardScalerModel()._repr_html_()
    assert shown.rows == []


def test_invalid_params_are_shown():
    """In place of the table: a cell that only looks at a model does not fail."""
    model = fitted(MinMaxScalerModel, min=5.0, max=1.0)

    assert read(model).rows == []
    assert "min must be less than max" in model._repr_html_()


def test_the_inverse_shows_what_it_undoes():
    """Under its own name."""
    shown = fitted(StandardScalerModel).inverse()

    assert "InverseModel of StandardScalerModel" in shown._repr_html_()
    assert len(read(shown).rows) == 5
    assert read(InverseModel()).rows == []


@pytest.mark.parametrize(
    "name", [name for name in scalers.__all__ if name not in ("Comparison", "StreamingFit")]
)  # no stages
def test_every_stage_is_plain_html(name):
    """No script, no style sheet, no colour but the notebook's."""
    shown = read(getattr(scalers, name)())

    assert shown.tags <= {"div", "b", "small", "code", "span"}
    assert read(fitted(StandardScalerModel)).tags & {"script", "style", "link", "img"} == set()
    assert "color" not in fitted(StandardScalerModel)._repr_html_().replace("currentColor", "")


def test_a_fitted_model_is_shown_without_a_job(spark, monkeypatch):
    """What fit makes is shown as any; long lists of gains are cut."""
    df = spark.createDataFrame([(1.0, [2.0, 3.0]), (4.0, [5.0, 6.0])], "x double, a array<double>")
    model = BatchNorm(inputCols=["x", "a"], gamma=[1.0, 2.0, 3.0]).fit(df)
    monkeypatch.setattr(type(df), "collect", lambda self: pytest.fail("a job"))

    assert [row[0] for row in read(model).rows] == ["feature", "x", "a_0", "a_1"]
    assert "gamma=[1, 0.333333, 3]" in BatchNorm(gamma=[1.0, 1 / 3, 3.0])._repr_html_()
    assert "normalizedShape=[1, 1, 1, 1, 1, 1, 1, 1, … 10 in all]" in LayerNorm(normalizedShape=[1] * 10)._repr_html_()
