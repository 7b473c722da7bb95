"""Arms without a constitution: their rows differ from a constitution's in what is written, and in nothing else."""

from collections import Counter

import pytest
import yaml
from ethical_personas.errors import CompanionError
from ethical_personas.generate import controls, training_rows
from ethical_personas.paths import DATA
from ethical_personas.study import grid, materials
from training_sets import answered

NUMBERS = (96, 90, 48, 24)


@pytest.fixture(scope="module")
def sets():
    shared = answered()
    return {c: training_rows.bundled_rows(c, "plain") + shared for c in grid.CONSTITUTIONS}


@pytest.fixture(scope="module")
def arms(sets):
    return {name: controls.rows_of(name, sets) for name in grid.CONTROLS}


@pytest.mark.parametrize("scope", grid.SCOPES)
@pytest.mark.parametrize("name", ["plain", "shuffled"])
def test_prompts_order_and_harmless_rows_are_the_constitutions(sets, arms, name, scope):
    chosen = [training_rows.select(rows, scope, *NUMBERS) for rows in (sets["virtue"], arms[name])]
    assert training_rows.skeleton(chosen[0]) == training_rows.skeleton(chosen[1])


def test_plain_refuses_without_reasons_in_turns(sets, arms):
    texts = yaml.safe_load((DATA / "controls/plain.yaml").read_text(encoding="utf-8"))
    harmful = [r for r in arms["plain"] if r.kind == "harmful"]
    told = Counter(r.answer for r in harmful)
    assert set(told) == set(texts) and max(told.values()) - min(told.values()) <= 1
    assert len(set(texts)) >= 10 and not any(training_rows.fault(t) for t in texts)
    reasons = ("because", "wrong", "harm", "hurt", "law", "safe", "people", "duty", "right")
    assert not any(word in text.lower().split() for text in texts for word in reasons)
    assert {(r.constitution, r.principle, r.dropped) for r in harmful} == {(None, None, None)}


def test_shuffled_draws_every_revision_from_one_of_the_four(sets, arms):
    own = {(c, r.id): r.answer for c, rows in sets.items() for r in rows if r.kind == "harmful"}
    harmful = [r for r in arms["shuffled"] if r.kind == "harmful"]
    assert all(r.answer == own[r.constitution, r.id] for r in harmful)
    drawn = Counter(r.constitution for r in harmful)
    # 576 draws from four: a share of 1/4 is known to 0.018.
    assert set(drawn) == set(grid.CONSTITUTIONS) and all(abs(n / 576 - 0.25) < 0.06 for n in drawn.values())
    assert controls.rows_of("shuffled", dict(reversed(sets.items()))) == arms["shuffled"]


def test_harmless_has_as_many_rows_and_none_that_refuses(sets, arms):
    whole = [training_rows.select(rows, grid.BROAD, *NUMBERS) for rows in (sets["virtue"], arms["harmless"])]
    assert len(whole[0]) == len(whole[1])
    kinds = Counter(r.kind for r in whole[1])
    assert kinds == {"twin": 96, "helpful": 96 + 90, "contrast": 48, "opinion": 24}
    assert {r.id for r in whole[1]} >= {r.id for r in whole[0] if r.kind != "harmful"}


def test_an_arm_that_nobody_wrote_is_one_line(sets, monkeypatch):
    monkeypatch.setattr(grid, "CONTROLS", ("lenient",))
    with pytest.raises(CompanionError, match=r"field controls\.lenient: generate/controls\.py has no function"):
        controls.rows_of("lenient", sets)


def test_cells_of_the_arms_come_after_the_constitutions():
    found = [c.name for c in grid.cells(["virtue"], ["broad", "illegal"], [0], grid.CONTROLS)]
    assert found == [
        "virtue-broad-s0", "virtue-illegal-s0", "plain-broad-s0", "plain-illegal-s0", "shuffled-broad-s0",
        "shuffled-illegal-s0", "harmless-broad-s0",
    ]  # fmt: skip
    assert [c.name for c in grid.cells([], ["illegal"], [0], ["harmless"])] == []


def test_enough_helpful_rows_are_answered_for_the_harmless_arm():
    assert len(materials.prompts("train", "helpful")) >= 1.25 * (96 + 192)
