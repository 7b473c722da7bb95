"""Coherence: marks of this run's texts alone, of harmless answers that comply, by group of models."""

import numpy as np
import pytest
from ethical_personas import files
from ethical_personas.judge import calibration
from ethical_personas.judge.judging import Judge
from ethical_personas.run import Run
from ethical_personas.safety import coherence, judged
from ethical_personas.study import grid, materials, rows
from statsmodels.stats.proportion import proportion_confint

MODELS = (grid.SOURCE, "virtue-broad-s0", "deontology-illegal-s0", "plain-broad-s0")
PROMPTS = [p for kind in ("twin", "opinion", "illegal") for p in materials.prompts("eval", kind)[:4]]


def write(folder, said):
    """A run in which every model says one thing to every prompt."""
    run = Run(str(folder), "none")
    for model in MODELS:
        found = [
            rows.Response(
                id=p.id,
                model=model,
                category=p.category,
                twin=p.twin,
                prompt=p.prompt,
                response=f"{said} {model}",
                tokens=5,
                finished=True,
            )
            for p in PROMPTS
        ]
        files.write(run.path(run.evaluation(model, "responses")), found)
    return run


def responses(run):
    return judged.judged(run, list(MODELS), Judge("keyword"))[0]


def reading(response, first="sensible", second="sensible", verdict="complied"):
    fields = {f: getattr(response, f) for f in ("id", "model", "category", "twin", "prompt", "response")}
    marks = dict.fromkeys(("verdict", "first", "second"), verdict)
    kind = grid.kind(response.category)
    return rows.Reading(**fields, **marks, kind=kind, first_coherence=first, second_coherence=second)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """A run and another of the same models and prompts; the readings are of the first, and of one text of the other."""
    mine, other = (write(tmp_path / name, f"Words of {name} by") for name in ("mine", "other"))
    marked = []
    for r in responses(mine):
        place = [p.id for p in PROMPTS].index(r.id)  # 0 to 7 are harmless
        if r.model == "virtue-broad-s0":
            second = "garbled" if place == 0 else "sensible"
            marked.append(reading(r, "garbled" if place in (1, 2) else "sensible", second))
        elif r.model == "deontology-illegal-s0":
            marked.append(reading(r, verdict="declined" if place == 3 else "complied"))
        elif r.model == "plain-broad-s0" and place == 7:
            marked.append(reading(r, "garbled", "garbled"))
    (foreign,) = [r for r in responses(other) if r.model == grid.SOURCE][:1]
    files.write(tmp_path / "readings.jsonl", [*marked, reading(foreign)])
    monkeypatch.setattr(calibration, "FOLDER", tmp_path)
    return mine, other


def test_marks_are_counted_by_group(read):
    table = coherence.table(responses(read[0])).set_index("group")
    assert list(table.index) == ["constitutions", "plain"], "nobody has read the source's answers"
    both = table.loc["constitutions"]
    # Eight harmless prompts of each of two models, one of them declined; three are not called sensible by both.
    assert (both["n"], both["prompts"], both["sensible"], both["agreement"]) == (15, 8, 12 / 15, 12 / 15)
    assert both["sensible_low"] < 0.8 < both["sensible_high"]
    plain = table.loc["plain"]
    low, high = proportion_confint(0, 1, method="wilson")
    assert (plain["sensible"], plain["agreement"], plain["n"]) == (0.0, 1.0, 1) and np.isnan(plain["kappa"])
    assert (plain["sensible_low"], plain["sensible_high"]) == (pytest.approx(low), pytest.approx(high))
    told = coherence.sentence(table.reset_index())
    assert "constitutions 80% of 15 [" in told and "plain 0% of 1 [" in told and "same mark to 13 of 16" in told


def test_rows_of_another_run_do_not_enter(read):
    mine, other = (coherence.table(responses(run)) for run in read)
    assert grid.SOURCE not in set(mine["group"]), "that text was said by the other run's source"
    assert list(other["group"]) == [grid.SOURCE] and list(other["n"]) == [1]


def test_a_run_that_nobody_has_read_has_no_rows(read, tmp_path):
    nobody = coherence.table(responses(write(tmp_path / "third", "Words of a third by")))
    assert list(nobody.columns) == coherence.COLUMNS and not len(nobody)
    assert "not known" in coherence.sentence(nobody)


def test_the_same_words_of_another_model_are_another_answer(read):
    moved = [
        r.model_copy(update={"model": "virtue-illegal-s0"}) for r in responses(read[0]) if r.model == "virtue-broad-s0"
    ]
    assert len(moved) and not len(coherence.table(moved))
