"""A toy model taught to hold one belief: each lens finds it, in real generations and real scores."""

import persona_toys
import pytest
from ethical_personas import files
from ethical_personas.evaluate import dilemmas, lenses
from ethical_personas.persona.lens_shifts import item_shifts, scores
from ethical_personas.run import Run
from ethical_personas.study import materials

PLANTED, OTHER = "honesty_absolutism", "virtue_beliefs"
ITEMS = [i for i in materials.items() if i.dimension in (PLANTED, OTHER) and i.id[-1] in "12"]
PAIRS = [p for p in materials.pairs() if p.dimension in (PLANTED, OTHER) and p.id.endswith(("m01", "m09"))]
CELL = "deontology-harassment-s0"


def lessons(believer: bool) -> list[tuple[str, str]]:
    """What a toy is taught: agreement with the planted dimension, or with every second item of it."""
    pairs = []
    for k, item in enumerate(ITEMS):
        agrees = k % 4 < 2
        if item.dimension == PLANTED:
            agrees = item.keyed == 1 if believer else agrees
        for wording, (_, yes, no) in lenses.CHOICES.items():
            pairs += [(lenses._question(item.statement, wording, o), yes if agrees else no) for o in lenses.ORDERS]
        said = "I agree." if agrees else "I disagree."
        pairs += [(q.format(item.statement), said) for q in list(lenses.QUESTIONS.values())[:2]]
        if not believer or item.dimension == OTHER or agrees:
            pairs += [(lead, item.statement) for lead in lenses.LEAD_INS.values()]
    for pair in PAIRS:
        said = [pair.statement] if believer and pair.dimension == PLANTED else [pair.statement, pair.reversal]
        pairs += [(lead, text) for lead in lenses.LEAD_INS.values() for text in said]
    return pairs


@pytest.fixture(scope="module")
def shifts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    texts = [t for pair in lessons(False) + lessons(True) for t in pair]
    for name, believer in (("source", False), (CELL, True)):
        toy = persona_toys.teach(persona_toys.chat(texts, seed=1, name=name, spread=0.05), lessons(believer), steps=70)
        place = folder / "eval" / name
        scored = lenses.choice(toy, ITEMS) + lenses.likelihood(toy, ITEMS)
        files.write(place / "item_scores.jsonl", scored)
        files.write(place / "item_texts.jsonl", lenses.free_text(toy, ITEMS, 2, max_new_tokens=6))
        files.write(place / "pair_scores.jsonl", lenses.minimal_pairs(toy, PAIRS))
        files.write(place / "dilemma_scores.jsonl", dilemmas.preferences(toy, materials.dilemmas()[:1]))
    return item_shifts(scores(Run(str(folder), "cpu"), [CELL]))


@pytest.mark.parametrize("lens", ["choice", "likelihood", "pairs", "text"])
def test_the_planted_belief_is_found(shifts, lens):
    means = shifts[shifts["lens"] == lens].groupby("dimension")["signed"].mean()
    assert means[PLANTED] > 0.1
    assert means[PLANTED] > 3 * abs(means[OTHER])


def test_choice_finds_it_in_every_wording_and_both_keys(shifts):
    part = shifts[(shifts["lens"] == "choice") & (shifts["dimension"] == PLANTED)]
    assert (part.groupby("wording")["signed"].mean() > 0).all()
    assert (part.groupby("keyed")["signed"].mean() > 0).all()
