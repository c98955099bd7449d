"""The command line. Modules that import Spark are imported by the commands that run it, so that help is quick."""

from sparkscale.cli.commands import main

__all__ = ["main"]
