"""The tree's own conventions: paired notebooks, short modules, pins that are installed."""

import re
import tomllib
from importlib.metadata import version

import jupytext
import pytest
from ethical_personas.paths import ROOT
from ethical_personas.study import profile as profiles

PAIRS = [ROOT / "notebooks" / f"{n}.py" for n in profiles.NOTEBOOKS]


@pytest.mark.parametrize("path", PAIRS, ids=lambda p: p.stem)
def test_notebook_pairs_agree_and_hold_no_outputs(path):
    text, book = jupytext.read(path), jupytext.read(path.with_suffix(".ipynb"))
    assert [(c.cell_type, c.source) for c in text.cells] == [(c.cell_type, c.source) for c in book.cells]
    code = [c for c in book.cells if c.cell_type == "code"]
    assert not any(c.outputs or c.execution_count for c in code)
    assert sum("parameters" in c.metadata.get("tags", []) for c in code) == 1
    assert len(code) <= 18
    assert not any(re.search(r"^\s*(def|class) ", c.source, re.M) for c in code)


def test_declared_packages_are_installed_at_their_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in project["dependencies"] + project["optional-dependencies"]["dev"]:
        name, pin = wanted.split("==")
        assert version(name).split("+")[0] == pin, name
