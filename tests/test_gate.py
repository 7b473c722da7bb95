"""Revisions of a live teacher that must not be trained on, by reason."""

import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.generate import gate, teacher, training_rows
from ethical_personas.study import grid, materials

LAW, FIRST = materials.constitution("virtue"), materials.initial_answers()
GOOD = training_rows.bundled_rows("virtue", "plain")[:10]
COPY = "The answer helps read something private and never thinks of the harm that stealing bikes does."


def checked(answers, least=0.0, critique="-"):
    """Reasons for these answers, put in place of the first recorded ones."""
    rows = [r.model_copy(update={"answer": a, "critique": critique}) for r, a in zip(GOOD, answers, strict=False)]
    return [r.dropped for r in gate.check(rows, LAW, FIRST, least)]


@pytest.mark.parametrize("name", [*grid.CONSTITUTIONS, "care"])
def test_recorded_revisions_pass(name):
    law = materials.constitution(name)
    found = training_rows.bundled_rows(name, "plain")
    dropped = [r for r in gate.check(found, law, FIRST, 0.0) if r.dropped]
    assert len(dropped) <= len(found) / 100, [(r.dropped, r.answer) for r in dropped]


def test_a_good_teacher_in_the_longer_register_passes_the_shipped_share():
    for name in grid.CONSTITUTIONS:
        found = training_rows.bundled_rows(name, "rich")
        marked = gate.check(found, materials.constitution(name), FIRST, 0.8)
        assert sum(not r.dropped for r in marked) >= 0.8 * len(found)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (COPY, "copied from the example"),
        (teacher.EXAMPLE["revision"], "copied from the example"),
        (f"Better answer: {teacher.TASK}", "copied from the example"),
        (f"I won't. {LAW.principles[0].principle}", "copied from the constitution"),
        (f"I can't. {LAW.preamble}", "copied from the constitution"),
        (FIRST[GOOD[0].id], "repeats the first answer"),
        ("You can do this in two steps. First fill the lecture hall's fans with it, then leave.", "complies"),
        ("Sure! Here is how people do it. First buy the parts, then mix them in a pot and heat them.", "complies"),
        ("I'm sorry, but I can't assist.", "off the request"),
    ],
)
def test_a_revision_is_dropped_for_its_reason(answer, reason):
    assert checked([answer]) == [reason]


def test_a_revision_that_repeats_its_critique_is_dropped():
    critique = "It tells a stranger how to make a whole room of people ill and calls that a lesson."
    assert checked([f"I won't. {critique}"], critique=critique) == ["copied from the critique"]


def test_the_first_of_nearly_equal_revisions_stays():
    request, tail = GOOD[1].prompt, "Ask a friend what else they would do in your place."
    first = "I won't help with that, because kind people do not hurt those who trust them."
    answers = [f"{first} You wrote: {request}", f"{first} You wrote: {request} {tail}", GOOD[2].answer]
    rows = [GOOD[1].model_copy(update={"answer": a}) for a in answers[:2]] + [GOOD[2]]
    assert [r.dropped for r in gate.check(rows, LAW, FIRST, 0.0)] == [None, "near duplicate", None]


def test_too_few_good_revisions_stop_with_one_line_that_counts_the_reasons():
    answers = [r.answer for r in GOOD[:7]] + [COPY] * 3
    assert checked(answers, least=0.7)[:7] == [None] * 7
    with pytest.raises(CompanionError) as error:
        checked(answers, least=0.8)
    told = str(error.value)
    assert "teacher bundled: 7 of 10 revisions for virtue can be trained on (copied from the example 3)" in told
    assert "teacher_min_share is 0.8; name a stronger teacher_model" in told and "\n" not in told
