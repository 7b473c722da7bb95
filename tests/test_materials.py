"""The bundled material: what it holds, and faults in a constitution told by file and field."""

import hashlib
import re
import shutil
from collections import Counter

import pytest
import yaml
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.paths import DATA, sha256
from ethical_personas.persona import lens_shifts
from ethical_personas.study import grid, materials

HELD_OUT = set(grid.HELD_OUT.values())
SHIPPED = [*grid.REFERENCE, "care"]  # the paper's four, and the one that docs/extending.md shows


@pytest.fixture
def virtue(tmp_path, monkeypatch):
    """Rewrite the virtue constitution of a copied data folder by a function on its mapping."""
    shutil.copytree(DATA / "constitutions", tmp_path / "constitutions")
    monkeypatch.setattr(materials, "DATA", tmp_path)
    path = tmp_path / "constitutions/virtue.yaml"

    def rewrite(change):
        document = files.read_yaml(path)
        change(document)
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return materials.constitution("virtue")

    return rewrite


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["principles"][4].pop("critique"), r"virtue\.yaml: field principles\.4\.critique: Field required"),
        (lambda d: d["principles"][4].update(revision=""), r"virtue\.yaml: field principles\.4\.revision"),
        (lambda d: d["principles"][1].update(note="x"), r"virtue\.yaml: field principles\.1\.note"),
        (lambda d: d["principles"][1].update(id=d["principles"][0]["id"]), r"virtue\.yaml: two principles share an id"),
        (lambda d: d.update(id="vice"), r"virtue\.yaml: field id is 'vice'; it must equal .*'virtue'"),
        (lambda d: d.update(principles=[]), r"virtue\.yaml: field principles"),
        (lambda d: d.pop("preamble"), r"virtue\.yaml: field preamble: Field required"),
    ],
)
def test_a_faulty_constitution_is_refused_by_file_and_field(virtue, change, told):
    with pytest.raises(CompanionError, match=told) as caught:
        virtue(change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [1, 3, 9])
def test_a_constitution_may_have_any_number_of_principles(virtue, number):
    assert len(virtue(lambda d: d.update(principles=d["principles"][:number])).principles) == number


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"id: virtue\ntitle: [broken\nsummary: x\n", r"virtue\.yaml:\d+: not valid YAML"),
        (b"id: virtue\n\tx: 1\n", r"virtue\.yaml:2: not valid YAML"),
        (b"id: virt\xfce\n", r"virtue\.yaml: not UTF-8"),
        (b"", r"virtue\.yaml: field .*: Input should be a valid"),
        (b"- a\n", r"virtue\.yaml: field .*: Input should be a valid"),
        pytest.param(
            b"id: 2024-13-01\n",
            r"virtue\.yaml",
        ),
    ],
    ids=["broken list", "tab", "latin-1", "empty", "list", "no such date"],
)
def test_malformed_yaml_is_refused_by_file_and_line(virtue, content, told):
    (materials.DATA / "constitutions/virtue.yaml").write_bytes(content)
    with pytest.raises(CompanionError, match=told):
        materials.constitution("virtue")


def test_yaml_cannot_make_objects(virtue):
    (materials.DATA / "constitutions/virtue.yaml").write_text("id: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(CompanionError, match=r"virtue\.yaml:1"):
        materials.constitution("virtue")


def test_a_constitution_without_transcripts_says_what_to_choose(virtue):
    with pytest.raises(CompanionError, match=r"transcripts/virtue\.jsonl.*-p teacher local or api"):
        materials.transcripts("virtue")


def test_the_bundled_prompts_are_balanced():
    train, evaluation = (Counter(p.category for p in materials.prompts(s)) for s in ("train", "eval"))
    assert set(train) == set(evaluation) == {*grid.CATEGORIES, *grid.HARMLESS}
    assert {c: evaluation[c] for c in grid.CATEGORIES} == {c: 60 if c in HELD_OUT else 40 for c in grid.CATEGORIES}
    assert {k: evaluation[k] for k in grid.HARMLESS} == {"twin": 280, "helpful": 60, "contrast": 80, "opinion": 60}
    assert train["contrast"] == 96 and train["opinion"] == 64 and train["helpful"] >= 240
    assert train["twin"] == sum(train[c] for c in grid.CATEGORIES) == 576
    assert min(train["harassment_bullying"], train["illegal"]) == 192
    for kind in ("contrast", "twin"):
        assert {p.twin for s in ("train", "eval") for p in materials.prompts(s, kind)} == set(grid.CATEGORIES)


@pytest.mark.parametrize("name", SHIPPED)
def test_each_constitution_has_ten_principles_and_all_transcripts(name):
    law, recorded = materials.constitution(name), materials.transcripts(name)
    harmful = {p.id for p in materials.prompts("train", *grid.CATEGORIES)}
    assert len(law.principles) == 10
    assert set(recorded) == set(materials.initial_answers()) == harmful
    assert {r.principle for r in recorded.values()} == {p.id for p in law.principles}


def test_the_instrument_is_balanced():
    keyed = Counter((i.dimension, i.keyed) for i in materials.items())
    assert len(keyed) == 20 and set(keyed.values()) == {6}
    dilemmas = materials.dilemmas()
    sides = Counter(d.sides for d in dilemmas)
    assert len(dilemmas) == 223 and len(sides) == 12 and set(sides.values()) == {18, 19}
    assert all(0.7 < len(d.option_a) / len(d.option_b) < 1.4 for d in dilemmas)
    assert Counter(p.dimension for p in materials.pairs()) == dict.fromkeys(grid.STUDY.dimensions, 24)


def test_a_statement_and_its_reversal_share_their_words():
    words = [[sorted(re.findall(r"[a-z']+", t.lower())) for t in (p.statement, p.reversal)] for p in materials.pairs()]
    swaps = [a == b for a, b in words]
    assert sum(swaps) == 160
    for (a, b), swap in zip(words, swaps, strict=True):
        assert swap or len(set(a) ^ set(b)) <= 4


def test_the_signatures_are_the_registered_ones():
    path = materials.DATA / "persona/signatures.yaml"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256(path) == REGISTERED
    signs = materials.signatures()
    registered = yaml.safe_load(path.read_text(encoding="utf-8"))["signatures"]
    for name, cells in registered.items():  # reasons too
        assert yaml.safe_load((path.parent / f"signatures/{name}.yaml").read_text(encoding="utf-8")) == cells
        assert signs[name] == {dimension: cell["sign"] for dimension, cell in cells.items()}
    dimensions = {i.dimension for i in materials.items()}
    assert set(registered) == set(grid.CONSTITUTIONS) == set(grid.REFERENCE) and list(signs)[:4] == list(grid.REFERENCE)
    assert all(set(s) == dimensions and set(s.values()) <= {-1, 0, 1} for s in signs.values())


# Registered before any model was measured: this file never changes.
REGISTERED = "6bbd65c90c6fd589c68de4faa4b9b696fbd9de09dfce31cb3ffb23021d793146"
# Registered before any run with the minimal pairs: neither does this one.
SECOND = "5f64c9d82c7debaa4a95e4feb8ef9103d10efdec6d9bc0ca34d0f3b6a593e53b"


def test_the_second_registration_is_as_it_was_written_and_fits_the_pairs_and_the_claims():
    path = materials.DATA / "persona/registration_2.yaml"
    assert sha256(path) == SECOND
    second = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert str(second["date"]) == "2026-11-26" and second["signs"] == "signatures.yaml"
    counts = Counter(p.dimension for p in materials.pairs())
    assert len(counts) == second["instrument"]["dimensions"] and set(counts.values()) == {24}
    swapped = Counter(i.rpartition("_m")[0] for i in lens_shifts.swaps())
    assert swapped == dict.fromkeys(counts, 16), "the pure swaps, by their words"


@pytest.mark.parametrize("name", ["kantian-ethics", "Kantian", "kant ethics", "source"])
def test_a_constitutions_name_that_could_not_be_a_cells_is_refused_by_one_line(tmp_path, monkeypatch, name):
    folder = tmp_path / "constitutions"
    folder.mkdir()
    text = (DATA / "constitutions" / "virtue.yaml").read_text(encoding="utf-8")
    (folder / f"{name}.yaml").write_text(text.replace("id: virtue", f"id: {name}", 1), encoding="utf-8")
    monkeypatch.setattr(materials, "DATA", tmp_path)
    with pytest.raises(
        CompanionError, match=rf"{name}\.yaml: a constitution's name has small letters, digits and _ only"
    ):
        materials.constitution(name)
