"""The command line as ``python -m sparkscale``."""

from sparkscale.cli import main

if __name__ == "__main__":
    main(prog_name="sparkscale")
