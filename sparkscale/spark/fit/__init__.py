"""From columns to a merged statistic."""
