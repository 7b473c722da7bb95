"""Which rows may be trained on, and what is dropped, by reason."""

import math
from types import SimpleNamespace

import pytest
from ethical_personas import files, provenance
from ethical_personas.errors import CompanionError
from ethical_personas.generate import source_answers, training_rows
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, rows
from ethical_personas.study import profile as profiles
from ethical_personas.study.inputs import REQUESTS
from training_sets import answered, chosen

STYLES = ("plain", "rich")
HARMLESS_ROWS = (90, 60, 32)  # helpful, contrast, opinion
FINE = "I will not help with that, for it would hurt him."


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("scope", grid.SCOPES)
def test_both_registers_give_sets_that_differ_in_the_revision_alone(scope, style):
    shared = answered()
    sets = {
        c: training_rows.select(training_rows.bundled_rows(c, style) + shared, scope, 96, *HARMLESS_ROWS)
        for c in grid.CONSTITUTIONS
    }
    assert len({training_rows.skeleton(s) for s in sets.values()}) == 1
    assert {len(s) for s in sets.values()} == {2 * 96 + sum(HARMLESS_ROWS)}
    for harmful in zip(*(s[:96] for s in sets.values()), strict=True):
        assert len({r.answer for r in harmful}) == len(grid.CONSTITUTIONS)
        assert [r.constitution for r in harmful] == list(grid.CONSTITUTIONS)
    for same in zip(*(s[96:] for s in sets.values()), strict=True):
        assert all(r == same[0] and r.constitution is None for r in same)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", grid.CONSTITUTIONS)
def test_no_bundled_revision_is_dropped(name, style):
    assert training_rows.drops(training_rows.bundled_rows(name, style)) == {}


def test_the_skeleton_sees_order_prompts_and_harmless_answers():
    found = answered()[:3]
    other = [found[0].model_copy(update={"answer": "Another answer altogether."}), *found[1:]]
    assert len({training_rows.skeleton(s) for s in (found, found[::-1], found[:2], other)}) == 4
    harmful = training_rows.bundled_rows("virtue", "plain")[:2]
    assert training_rows.skeleton(harmful) == training_rows.skeleton(
        [r.model_copy(update={"answer": "Else."}) for r in harmful]
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("No, I won't.", "short"),
        ("No, I will not help.", None),
        (FINE + "<|im_end|>", "template marks"),
        (FINE + "\\n", "template marks"),
        (FINE + "\n", None),
    ],
)
def test_an_answer_is_dropped_for_a_reason(answer, reason):
    prompt = materials.prompts("train", "illegal")[0]
    row = training_rows.harmful_row(prompt, "virtue", "compassion", "-", answer, "bundled")
    assert row.dropped == reason
    assert training_rows.drops([row]) == ({reason: 1} if reason else {})


def test_a_dropped_answer_repeats_nobody_and_the_first_of_a_pair_stays():
    prompts = materials.prompts("train", "illegal")[:5]
    texts = ["", "", FINE, FINE, FINE + "!"]
    found = [
        training_rows.harmful_row(p, "virtue", "compassion", "-", t, "bundled")
        for p, t in zip(prompts, texts, strict=True)
    ]
    marked = training_rows.mark_duplicates(found)
    assert [r.dropped for r in marked] == ["empty", "empty", None, "duplicate", None]
    assert training_rows.drops(marked) == {"empty": 2, "duplicate": 1}


@pytest.mark.parametrize(
    ("scope", "numbers", "told"),
    [
        ("broad", (95, 90, 90, 9), "field rows_per_scope: 95 does not divide by the 6 categories of 'broad'"),
        ("broad", (600, 90, 90, 9), "needs 100 chemical_biological rows and {} are usable; lower rows_per_scope"),
        ("illegal", (500, 90, 90, 9), "needs 500 illegal rows and {} are usable; lower rows_per_scope"),
        ("illegal", (96, 900, 90, 9), "needs 900 helpful rows and {} are usable; lower helpful_rows"),
        ("illegal", (96, 90, 97, 9), "needs 97 contrast rows and {} are usable; lower contrast_rows"),
        ("illegal", (96, 90, 90, 99), "needs 99 opinion rows and {} are usable; lower opinion_rows"),
    ],
)
def test_too_few_rows_are_refused_by_the_parameter_to_lower(scope, numbers, told):
    found = training_rows.bundled_rows("virtue", "plain") + answered()
    kind = told.partition("needs ")[2].split(" ")[1:2]
    with pytest.raises(CompanionError, match=told.format(len(materials.prompts("train", *kind)))):
        training_rows.select(found, scope, *numbers)


def test_a_harmful_row_comes_with_its_twin_and_not_without():
    found = training_rows.bundled_rows("virtue", "plain") + answered()
    first = training_rows.select(found, "illegal", 40, *HARMLESS_ROWS)
    harmful, twins = first[:40], first[40:80]
    assert [training_rows.twin_of(r.id) for r in harmful] == [r.id for r in twins]
    assert {r.category for r in twins} == {"illegal"} and {r.kind for r in twins} == {grid.PAIRED}
    lost = [r.model_copy(update={"dropped": "empty"}) if r.id == twins[3].id else r for r in found]
    others = {r.id for r in training_rows.select(lost, "illegal", 40, *HARMLESS_ROWS)}
    assert len(others) == len(first) and not others & {harmful[3].id, twins[3].id}


def test_a_target_that_was_cut_ends_without_an_end_of_turn():
    assert {r.complete for r in answered(cut=True)} == {False} and {r.complete for r in answered()} == {True}


@pytest.mark.parametrize("rows", [24, 48])
def test_the_source_answers_what_is_needed_and_some_to_spare(rows):
    numbers = {"rows_per_scope": rows, "helpful_rows": 20, "contrast_rows": 8, "opinion_rows": 4}
    p = SimpleNamespace(scopes=["broad", "illegal"], **numbers)
    asked = [x.category for x in training_rows.harmless_needed(p)]
    assert [asked.count(kind) for kind in grid.TRAINED] == [math.ceil(1.25 * (20 + rows)), 10, 5]
    assert 1.6 * rows <= asked.count(grid.PAIRED) <= 2 * 1.7 * rows + 6


def test_the_sources_own_refusal_of_a_harmless_prompt_is_no_target(tmp_path):
    helpful = materials.prompts("train", "helpful")[:2]
    said = ["I'm sorry, but I can't help with that.", "Boil the water first, then add the leaves and wait."]
    answers = [
        rows.Response(id=p.id, model="source", category="helpful", prompt=p.prompt, response=t, tokens=9, finished=f)
        for p, t, f in zip(helpful, said, (True, False), strict=True)
    ]
    run = Run(str(tmp_path), "cpu")
    files.write(run.path(source_answers.FILE), answers)
    found = training_rows.harmless_rows(source_answers.targets(run, "source"), "source")
    assert [(r.dropped, r.complete) for r in found] == [("empty", True), (None, False)]
    written = training_rows.harmless_rows(source_answers.targets(run, "written"), "written")
    assert {r.id: r.complete for r in written}[helpful[1].id] == (helpful[1].answer is not None)


def test_answers_of_another_model_or_decoding_are_not_taken_for_this_ones(tmp_path):
    run = Run(str(tmp_path), "none")
    p = SimpleNamespace(**{k: getattr(profiles.load("cpu"), k) for k in source_answers.PARAMETERS})
    assert not source_answers.is_current(run, p)
    note = provenance.start(run, source_answers.STAGE, "harmless_answers", p)
    assert not source_answers.is_current(run, p)
    answer = rows.Response(
        id="a", model="source", category="helpful", prompt="p", response="Yes.", tokens=2, finished=True
    )
    written = files.write(run.path(source_answers.FILE), [answer])
    inputs = [ROOT / name for name in REQUESTS]
    provenance.finish(note, inputs=inputs, outputs=[written])
    assert source_answers.is_current(run, p)
    for key, other in (("base_model", "path:elsewhere"), ("answer_tokens", 8), ("repetition_penalty", 1.0)):
        assert not source_answers.is_current(run, SimpleNamespace(**vars(p) | {key: other}))
    assert source_answers.is_current(run, SimpleNamespace(**vars(p) | {"threads": 2}))
    provenance.finish(note, inputs=inputs[1:], outputs=[written])
    assert not source_answers.is_current(run, p), "they answered other prompts"
    run.path(source_answers.RECORD).unlink()
    assert not source_answers.is_current(run, p), "nobody knows whose they are"


@pytest.mark.parametrize("scope", grid.SCOPES)
def test_constitutions_differ_in_nothing_but_the_revision(scope):
    sets = {c: chosen(c, scope, 96, *HARMLESS_ROWS) for c in grid.CONSTITUTIONS}
    assert len({training_rows.skeleton(s) for s in sets.values()}) == 1
    first, *others = sets.values()
    for other in others:
        assert [r.id for r in other] == [r.id for r in first]
        for a, b in zip(first, other, strict=True):
            apart = {k for k, v in a.model_dump().items() if v != b.model_dump()[k]}
            assert apart <= ({"answer", "constitution", "principle", "critique"} if a.kind == "harmful" else set())
    assert all(a.answer != b.answer for a, b in zip(first, others[0], strict=True) if a.kind == "harmful")


def test_scopes_have_equal_numbers_of_rows_and_the_same_harmless_ones():
    sets = {s: chosen("virtue", s, 96, *HARMLESS_ROWS) for s in grid.SCOPES}
    assert {len(s) for s in sets.values()} == {2 * 96 + sum(HARMLESS_ROWS)}
    harmless = [[r.id for r in s if r.kind not in ("harmful", grid.PAIRED)] for s in sets.values()]
    assert harmless[0] == harmless[1] == harmless[2]
    for scope, rows_of in sets.items():
        assert {r.category for r in rows_of if r.kind == "harmful"} == set(grid.SCOPES[scope])


def test_a_prompt_that_any_constitution_lacks_is_left_out_for_all():
    """Else the broad scope's spare prompts would fill the gap, and two constitutions learn from different requests."""
    sets = {c: training_rows.bundled_rows(c, "plain") + answered() for c in ("virtue", "deontology")}
    first = next(r.id for r in sets["virtue"] if r.category == "harmful")
    lost = [r.model_copy(update={"dropped": "short"}) if r.id == first else r for r in sets["virtue"]]
    apart = [training_rows.select(rows, "broad", 96, 0, 0, 0) for rows in (lost, sets["deontology"])]
    assert training_rows.skeleton(apart[0]) != training_rows.skeleton(apart[1])
    shared = [training_rows.shared(lost, sets["deontology"]), training_rows.shared(sets["deontology"], lost)]
    same = [training_rows.select(rows, "broad", 96, 0, 0, 0) for rows in shared]
    assert training_rows.skeleton(same[0]) == training_rows.skeleton(same[1])
    assert first not in {r.id for r in same[1]}
    assert training_rows.drops(shared[1]) == {"elsewhere": 1}
