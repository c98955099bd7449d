"""Transform: maps applied to columns."""
