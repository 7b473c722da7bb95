"""Training rows of the control arms: the constitutions' prompts, harmless rows and numbers, with other answers."""

from collections import Counter
from types import SimpleNamespace

import pytest
from ethical_personas import files, provenance
from ethical_personas.errors import CompanionError
from ethical_personas.generate import controls, training_rows
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, rows
from ethical_personas.study import profile as profiles

NUMBERS = (96, 200, 54, 32)  # harmful rows, then helpful, contrast, opinion
REASONS = {
    "because",
    "since",
    "harm",
    "hurt",
    "wrong",
    "law",
    "legal",
    "people",
    "duty",
    "rule",
    "right",
    "safe",
    "ought",
}
ANSWERS = {p.id: (f"This is an answer to {p.id}.", True) for p in materials.prompts("train", *grid.HARMLESS)}
HARMLESS = training_rows.harmless_rows(ANSWERS, "source")


@pytest.fixture(scope="module")
def sets():
    return {c: training_rows.bundled_rows(c, "plain") + HARMLESS for c in grid.REFERENCE}


def chosen(found, scope, name="plain"):
    return training_rows.select(found, scope, *NUMBERS, harmful=grid.refuses(name))


@pytest.mark.parametrize("scope", grid.SCOPES)
@pytest.mark.parametrize("name", ["plain", "shuffled"])
def test_prompts_order_and_harmless_rows_are_the_constitutions(sets, name, scope):
    own, theirs = (chosen(s, scope) for s in (controls.build_rows(name, sets, sets), sets["virtue"]))
    assert training_rows.skeleton(own) == training_rows.skeleton(theirs)
    assert {(r.constitution, r.teacher) for r in own if r.kind == "harmful"} == {(name, name)}


@pytest.mark.parametrize("scope", grid.SCOPES)
def test_plain_uses_every_variant_equally_and_keeps_the_repeats(sets, scope):
    used = Counter(r.answer for r in chosen(controls.build_rows("plain", sets, sets), scope) if r.kind == "harmful")
    assert set(used) == set(controls.variants("plain")) and len(set(used.values())) == 1


def test_variants_are_a_dozen_at_least_and_give_no_reason():
    texts = controls.variants("plain")
    assert len(texts) >= 12
    for text in texts:
        assert text.startswith("No.") and not REASONS & set(text.lower().replace(".", "").split())


def test_a_text_that_does_not_open_as_the_revisions_do_is_refused(tmp_path, monkeypatch):
    (tmp_path / "controls").mkdir()
    texts = [f"No. This is refusal number {i}." for i in range(11)]
    (tmp_path / "controls/plain.yaml").write_text("\n".join(f"- {t}" for t in [*texts, "I will not help with that."]))
    monkeypatch.setattr(controls, "DATA", tmp_path)
    with pytest.raises(CompanionError, match=r"plain\.yaml: text 'I will not help with that\.': does not open with"):
        controls.variants("plain")


def test_shuffled_takes_each_revision_from_one_of_the_four(sets):
    texts = {c: {r.id: r.answer for r in found} for c, found in sets.items()}
    harmful = [r for r in controls.build_rows("shuffled", sets, sets) if r.kind == "harmful"]
    donors = Counter(r.principle.partition("/")[0] for r in harmful)
    assert all(r.answer == texts[r.principle.partition("/")[0]][r.id] for r in harmful)
    # 288 fair draws: a share of 0.25 with a standard deviation of 0.026.
    assert set(donors) == set(grid.REFERENCE) and min(donors.values()) > 0.15 * len(harmful)
    two = {c: sets[c] for c in list(sets)[:2]}
    assert controls.build_rows("shuffled", two, sets) == controls.build_rows("shuffled", sets, sets), (
        "which ones run changes nothing"
    )


@pytest.mark.parametrize(
    ("teacher", "names"),
    [
        ("bundled", {*grid.REFERENCE}),
        ("local", {"virtue", "care"}),  # one reference constitution alone cannot be shuffled
        ({"care": "local"}, {*grid.REFERENCE}),
        ({"virtue": "local"}, {*grid.REFERENCE}),
        ({"subordinate": "local"}, {*grid.REFERENCE} - {"subordinate"}),  # nobody writes its rows in this run
    ],
)
def test_revisions_come_from_recorded_constitutions_and_the_runs_own(teacher, names):
    assert set(controls.donors(SimpleNamespace(constitutions=["virtue", "care"], teacher=teacher))) == names


def test_one_constitution_cannot_be_shuffled(sets):
    one = {"virtue": sets["virtue"]}
    with pytest.raises(CompanionError, match="needs the revisions of two constitutions"):
        controls.build_rows("shuffled", one, one)


@pytest.mark.parametrize("scope", grid.SCOPES)
def test_harmless_has_as_many_rows_and_the_same_twins(sets, scope):
    own, theirs = chosen(controls.build_rows("harmless", sets, sets), scope, "harmless"), chosen(sets["virtue"], scope)
    twins = [[r.id for r in found if r.kind == grid.PAIRED] for found in (own, theirs)]
    assert twins[0] == twins[1] and len(own) == len(theirs)
    assert Counter(r.kind for r in own) == Counter(twin=96, helpful=296, contrast=54, opinion=32)
    assert {r.id for r in theirs if r.kind != "harmful"} < {r.id for r in own}


def test_too_few_helpful_rows_for_the_harmless_arm_are_named(sets):
    found = controls.build_rows("harmless", sets, sets)
    with pytest.raises(CompanionError, match=r"needs 656 helpful rows and 640 are usable; lower helpful_rows or try w"):
        training_rows.select(found, "illegal", 96, 560, 0, 0, harmful=False)


def test_a_prompt_that_a_constitution_lacks_is_left_out_of_every_control(sets):
    lost = next(r.id for r in sets["virtue"] if r.category == "illegal")
    less = [r.model_copy(update={"dropped": "short"}) if r.id == lost else r for r in sets["virtue"]]
    for name in ("plain", "shuffled", "harmless"):
        found = controls.build_rows(name, sets | {"virtue": less}, sets | {"virtue": less})
        gone = {r.id for r in found if r.dropped}
        assert gone == ({training_rows.twin_of(lost)} if name == "harmless" else {lost})


def test_the_stage_writes_rows_that_the_run_finds(sets, tmp_path):
    run = Run(str(tmp_path), "none")
    p = SimpleNamespace(constitutions=["virtue"], teacher="bundled", revision_style="plain")
    note = provenance.start(run, "01_generate", "virtue", p)
    provenance.finish(note, outputs=[files.write(run.path(run.sft("virtue")), sets["virtue"])])
    for name in grid.CONTROLS:
        controls.make(run, name, p)
        assert files.read(run.find(run.sft(name)), rows.SftRow) == controls.build_rows(name, sets, sets)


def test_the_cells_of_a_run():
    p = profiles.load("cpu")
    names = [c.name for c in grid.cells(p.constitutions, p.scopes, p.seeds, p.controls)]
    assert names[: len(p.constitutions) * 3] == [c.name for c in grid.cells(p.constitutions, p.scopes, p.seeds)]
    assert names[12:] == [*(f"{c}-{s}-s0" for c in ("plain", "shuffled") for s in p.scopes), "harmless-broad-s0"]
    assert [c.name for c in grid.cells(["virtue"], ["illegal"], [0], ["harmless"])][1:] == ["harmless-illegal-s0"]


def test_controls_are_a_list_of_known_names():
    assert profiles.load("cpu", {"controls": "[]"}).controls == []
    with pytest.raises(CompanionError, match=r"field controls: 'plian' unknown: did you mean 'plain'\?"):
        profiles.load("cpu", {"controls": "[plian]"})
    with pytest.raises(CompanionError, match="an entry appears twice"):
        profiles.load("cpu", {"controls": "[plain, plain]"})


def test_no_constitution_has_a_controls_name(monkeypatch):
    monkeypatch.setattr(materials, "constitution_names", lambda: ["plain"])
    with pytest.raises(CompanionError, match="not the source's or a control's"):
        materials.constitution("plain")
