"""CSV as text: only the columns that are used get a type, all others are written as they were read."""

from sparkscale.cli.csv.errors import reading_error
from sparkscale.cli.csv.options import write_options
from sparkscale.cli.csv.reader import read

__all__ = ["read", "reading_error", "write_options"]
