"""The notebook runs from top to bottom on a small run of the shipped model and prints what it shows.

``NOTEBOOK=write pytest tests/docs/test_notebook.py`` stores what the cells print in it.
"""

import io
import os
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
import pytest
from tests.small_run import small_run

from pidflow.models.standin.architecture import PROMPT

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs/notebook.ipynb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with results beside which the notebook lies."""
    made = tmp_path_factory.mktemp("run")
    model = {"family": "llava", "path": str(ROOT / "workflow/resources/standin"), "prompt": PROMPT, "batch_size": 64}
    dataset = {"reader": "scenes", "language_prior": 0.25}
    asked = {"task": "choose-attr", "select": "choose-attr", "count": 240}
    small_run(made, model=model, name="standin", dataset=dataset, depth=8, **asked)
    return made


def test_every_cell_prints_what_is_stored_with_it(folder, monkeypatch):
    monkeypatch.chdir(folder)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    session, printed = {}, []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            said = io.StringIO()
            with redirect_stdout(said):
                exec(compile(cell.source, f"cell {cell.id}", "exec"), session)
            printed.append(said.getvalue())
            if os.environ.get("NOTEBOOK") == "write":
                cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=said.getvalue())]
    if os.environ.get("NOTEBOOK") == "write":
        nbformat.write(notebook, NOTEBOOK)
    stored = ["".join(each.text for each in cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    assert len(printed) >= 6
    assert printed == stored


def test_it_imports_from_the_public_face_alone():
    source = "\n".join(cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells)
    assert "from pidflow import" in source
    assert "pidflow." not in source
