"""Speed beside Spark's own scalers and a plain read: ``python -m benchmarks``."""
