"""Speed compared with Spark's own scalers and a plain read: ``python -m benchmarks``."""
