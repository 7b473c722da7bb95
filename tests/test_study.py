"""data/study.yaml: the lists that everything shares, and one line for each fault in them."""

import subprocess
import sys

import pytest
import yaml
from ethical_personas.errors import CompanionError
from ethical_personas.files import validated
from ethical_personas.paths import DATA, ROOT
from ethical_personas.study import grid
from ethical_personas.study.lists import Study


def test_the_papers_lists():
    assert grid.CONSTITUTIONS == grid.REFERENCE == ("deontology", "consequentialism", "virtue", "subordinate")
    assert len(grid.CATEGORIES) == 6 and ("twin", *grid.TRAINED) == grid.HARMLESS
    assert grid.TRAINED == ("helpful", "contrast", "opinion") and grid.PAIRED == "twin"
    assert grid.SCOPES["broad"] == grid.CATEGORIES and grid.BROAD == "broad"
    assert grid.HELD_OUT == {"harassment": "chemical_biological", "illegal": "misinformation_disinformation"}
    assert grid.ITEM_LENSES == ("choice", "likelihood", "pairs", "text")
    assert grid.SCORED_LENSES == ("choice", "likelihood")


FAULTS = [
    ("scopes.illegal.held_out", "harassing", "field scopes: illegal: harassing is not among the categories"),
    ("scopes.illegal.held_out", "illegal", "field scopes: illegal: illegal is trained on and held out"),
    ("scopes.illegal.held_out", None, "field scopes: illegal: held_out is missing"),
    ("scopes.illegal.categories", "all", "field scopes: one scope, and no other, has categories: all"),
    ("scopes.illegal.marker", "X", "field scopes.illegal.marker"),
    ("scopes.two-words", {"categories": ["illegal"]}, "field scopes.two-words"),
    ("scopes.source", {"categories": ["illegal"], "marker": "D"}, "field scopes: source is the untuned model"),
    ("kinds.illegal", {}, "field kinds: illegal is a harm category too"),
    ("bars.declined.helpful", 10, "field bars.declined.helpful"),
    (
        "constitutions.virtue.contrast",
        ["virtue_beliefs", "impartiality"],
        "field dimensions: consequentialism and virtue have",
    ),
    ("kinds.twin", {}, "field kinds: one kind, and no other, is paired"),
    ("kinds.helpful.paired", True, "field kinds: one kind, and no other, is paired"),
    ("constitutions.virtue.colour", "green", "field constitutions.virtue.colour"),
    ("constitutions.source", {"colour": "#000000"}, "field constitutions: source names another series of models"),
    ("controls.virtue", {"colour": "#000000", "answers": "none"}, "field controls: virtue names another series"),
    ("controls.plain.answers", "some", "field controls.plain.answers"),
    (
        "constitutions.consequentialism.contrast",
        ["virtue_beliefs", "virtues"],
        "field dimensions: virtues is not among them, and the contrast of consequentialism names it",
    ),
    ("constitutions.virtue.contrast", ["virtue_beliefs"], "field constitutions.virtue.contrast"),
    ("lenses.choice.rows", "scores", "field lenses.choice.rows"),
    ("bars.declined.rude", 0.1, "field bars: rude is not among the kinds"),
    ("bars.off_topic.broad", 0.1, "field bars: broad is not among the narrow scopes"),
    ("bars", None, "field bars"),
    ("colours", {}, "field colours: Extra inputs are not permitted"),
]


def spoilt(place, path, value):
    """A copy of study.yaml with one field changed; returns its path."""
    study = yaml.safe_load((DATA / "study.yaml").read_text(encoding="utf-8"))
    *above, last = path.split(".")
    part = study
    for name in above:
        part = part[name]
    part[last] = value
    place.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return place


@pytest.mark.parametrize("path, value, told", FAULTS, ids=[f"{p}={v}" for p, v, _ in FAULTS])
def test_a_fault_is_one_line_naming_file_and_field(tmp_path, path, value, told):
    with pytest.raises(CompanionError) as error:
        validated(Study, spoilt(tmp_path / "study.yaml", path, value))
    assert str(error.value).startswith(f"{tmp_path / 'study.yaml'}: {told}") and "\n" not in str(error.value)


def test_a_fault_found_while_modules_load_is_one_line_too(tmp_path):
    (tmp_path / "data").mkdir()
    spoilt(tmp_path / "data/study.yaml", "scopes.illegal.held_out", "illegal")
    code = (
        f"from ethical_personas import paths; from pathlib import Path; paths.DATA = Path({str(tmp_path / 'data')!r})"
    )
    code += "; import ethical_personas.study.grid"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "lib", capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {tmp_path}/data/study.yaml: field scopes: illegal:")
    assert len(done.stderr.splitlines()) == 1
