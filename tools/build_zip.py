"""Build ``dist/sparkscale.zip`` for ``spark-submit --py-files``: sparkscale, and of its dependencies what Spark's lack.

NumPy, pandas and PyArrow are not pure Python, and workers of PySpark's Arrow functions have them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Build it."""
    with TemporaryDirectory() as folder:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", "--target", folder]
        subprocess.run([*install, str(ROOT), "array-api-compat"], check=True)
        target = ROOT / "dist" / "sparkscale"
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(Path(folder) / "bin", ignore_errors=True)
        print(shutil.make_archive(str(target), "zip", folder))


if __name__ == "__main__":
    main()
