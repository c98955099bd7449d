"""Run the notebooks in examples/ from the top, and save them with what they show, and the picture of the README.

``python tools/run_notebooks.py`` (``make notebooks``), with names to run only those.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
PICTURE = ("flights.ipynb", ROOT / "docs" / "images" / "flights.png")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TIMEOUT = 300  # seconds a cell


def executed(path: Path) -> nbformat.NotebookNode:
    """Return a notebook as a fresh kernel runs it, in an empty folder; a cell that fails raises.

    What goes to standard error is left out: Spark's log and its progress bar.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(
            notebook, timeout=TIMEOUT, kernel_name="python3", resources=resources, record_timing=False
        ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    return notebook


def pictures(notebook: nbformat.NotebookNode) -> list[bytes]:
    """Return the pictures that a notebook shows."""
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    return [base64.b64decode(o.data["image/png"]) for o in outputs if "image/png" in o.get("data", {})]


def main() -> None:
    """Run and save the notebooks that are named, or all."""
    for path in map(Path, sys.argv[1:] or NOTEBOOKS):
        notebook = executed(path)
        nbformat.write(notebook, path)
        print(path.name, f"{path.stat().st_size / 1024:.0f} KiB")
        if path.name == PICTURE[0]:
            PICTURE[1].parent.mkdir(exist_ok=True)
            PICTURE[1].write_bytes(pictures(notebook)[0])


if __name__ == "__main__":
    main()
