"""All that knows Spark: columns, fit as one scan, transform as expressions."""
