"""Notebooks that equal their pairs, call and do not define, and a tree without traces of the machine it was made on."""

import ast
import inspect
import subprocess
from dataclasses import fields
from fnmatch import fnmatch

import jupytext
import pytest
from ethical_personas.finetune import lora
from ethical_personas.generate import source_answers
from ethical_personas.models import chats
from ethical_personas.paths import ROOT
from ethical_personas.study import parameters
from ethical_personas.study import profile as profiles

HANDED = {  # modules that a notebook hands its parameters on to as a whole
    "01_generate": ("generate/revisions.py", "generate/source_answers.py"),
    "03_evaluate": ("evaluate/served.py",),
}
BOOKS = sorted((ROOT / "notebooks").glob("*.py"))
DEFINING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def code(path):
    return [c for c in jupytext.read(path).cells if c.cell_type == "code"]


def test_there_is_a_notebook_for_each_stage_and_no_other():
    for kind in ("py", "ipynb"):
        assert [p.stem for p in sorted((ROOT / "notebooks").glob(f"*.{kind}"))] == list(profiles.NOTEBOOKS)


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_notebook_pairs_agree_and_hold_no_outputs(path):
    text, book = jupytext.read(path), jupytext.read(path.with_suffix(".ipynb"))
    assert [(c.cell_type, c.source) for c in text.cells] == [(c.cell_type, c.source) for c in book.cells]
    cells = [c for c in book.cells if c.cell_type == "code"]
    assert not any(c.outputs or c.execution_count for c in cells)
    assert sum("parameters" in c.metadata.get("tags", []) for c in cells) == 1
    assert len(cells) <= 18


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_a_notebook_defines_nothing(path):
    for cell in code(path):
        assert not [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, DEFINING)], cell.source


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_parameters_are_literal_and_known_and_stand_first(path):
    first = code(path)[0]
    assert first.metadata["tags"] == ["parameters"]
    assert all(isinstance(n, ast.Assign) and ast.literal_eval(n.value) is not ... for n in ast.parse(first.source).body)
    declared = parameters.declared(path.stem)
    assert set(declared) <= set(profiles.Profile.model_fields) | profiles.JOB_PARAMETERS
    assert (declared["profile"], declared["run_dir"]) == ("cpu", "runs/scratch")


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_every_declared_parameter_is_used(path):
    """What a notebook declares makes it run again when it changes, so it declares no more than it uses."""
    trees = [ast.parse(c.source) for c in code(path)[1:]]
    handed = HANDED.get(path.stem, ())
    trees += [ast.parse((ROOT / "lib/ethical_personas" / m).read_text(encoding="utf-8")) for m in handed]
    source = "\n".join(c.source for c in code(path))
    if "chats.load_for(p" in source:
        trees.append(ast.parse(inspect.getsource(chats.load_for)))
    used = {ast.unparse(n) for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    used |= {f"p.{k}" for k in source_answers.PARAMETERS} if path.stem == "01_generate" else set()
    used |= {f"p.{f.name}" for f in fields(lora.Recipe)} if "lora.recipe_for(p)" in source else set()
    assert not {k for k in parameters.declared(path.stem) if k not in profiles.JOB_PARAMETERS and f"p.{k}" not in used}


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_prose_stands_between_the_cells(path):
    kinds = [c.cell_type for c in jupytext.read(path).cells]
    assert kinds[0] == "markdown" and jupytext.read(path).cells[0].source.startswith("# ")
    assert "code code code code" not in " ".join(kinds)


def test_no_file_names_a_place_of_one_machine():
    marks = [f"/{place}/" for place in ("work", "root", "home/user", "Users")] + [
        "/tmp/" + "bash_jobs",
        "/tmp/" + "pyt",
    ]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        content = (ROOT / name).read_bytes()
        if b"\0" not in content and not fnmatch(name, "data/reference/*/eval/*"):  # models make paths up
            text = content.decode("utf-8")
            assert not [m for m in marks if m in text], name
