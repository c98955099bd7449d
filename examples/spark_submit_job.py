r"""A job for ``spark-submit``: fits a scaler on a table, scales the table, and saves both.

    make zip
    spark-submit --master spark://host:7077 --py-files dist/sparkscale.zip examples/spark_submit_job.py \
        INPUT.parquet MODEL OUTPUT.parquet x y z

Executors need NumPy, pandas and PyArrow in their Python, and of sparkscale only the zip.
"""

from __future__ import annotations

import argparse

from pyspark.sql import SparkSession

from sparkscale import StandardScaler


def main() -> None:
    """Fit, scale, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("source", "model", "output"):
        parser.add_argument(name)
    parser.add_argument("columns", nargs="+")
    options = parser.parse_args()
    spark = SparkSession.builder.appName("sparkscale job").getOrCreate()

    table = spark.read.parquet(options.source)
    model = StandardScaler(inputCols=options.columns, withMean=True).fit(table)
    print(model.summary().to_string())
    model.write().overwrite().save(options.model)
    model.transform(table).write.mode("overwrite").parquet(options.output)
    spark.stop()


if __name__ == "__main__":
    main()
