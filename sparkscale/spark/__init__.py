"""Everything that depends on Spark: columns, fit as one scan, transform as expressions."""
