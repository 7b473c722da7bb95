"""The model side: right scores, the same whatever the batch, the order and the reuse of prefixes."""

import random

import numpy as np
import persona_toys
import pytest
import torch
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import dilemmas, lenses, scoring
from ethical_personas.models.templates import TEMPLATES
from ethical_personas.study import materials, rows

ITEMS = [item for k in range(3) for item in materials.items()[12 * k : 12 * k + 4]]
DILEMMAS = materials.dilemmas()[:5]


def _texts():
    questions = [lenses.STATEMENT] + [q for q, *_ in lenses.CHOICES.values()] + list(lenses.LEAD_INS.values())
    words = [w for _, *pair in lenses.CHOICES.values() for w in pair]
    texts = [" ".join([d.scenario, d.option_a, d.option_b]) for d in materials.dilemmas()]
    asked = [*lenses.QUESTIONS.values(), dilemmas.LIKELIHOOD, dilemmas.CHOICE]
    return [i.statement for i in materials.items()] + questions + words + texts + asked + ["I agree. I disagree."]


@pytest.fixture(scope="module")
def toy():
    return persona_toys.chat(_texts(), seed=3)


def _logits_alone(chat, ids):
    with torch.inference_mode():
        return chat.model(input_ids=torch.tensor([ids])).logits[0]


def _mean_logprob_alone(chat, user, answer):
    prompt, whole = chat.ids(user), chat.ids(user, answer)
    end = len(chat.ids(user, "")) - len(prompt)
    scores = _logits_alone(chat, whole).log_softmax(-1)
    return np.mean([float(scores[t - 1, whole[t]]) for t in range(len(prompt), len(whole) - end)])


def test_choice_equals_plain_one_by_one_forward(toy):
    for row in lenses.choice(toy, ITEMS, batch=5):
        statement = next(i.statement for i in ITEMS if i.id == row.id)
        question, yes, no = lenses.CHOICES[row.wording]
        first, second = (yes, no) if row.order == "agree_first" else (no, yes)
        last = _logits_alone(toy, toy.ids(f'Statement: "{statement}" ' + question.format(first, second)))[-1]
        yes_id, no_id = toy.tokenizer.convert_tokens_to_ids([yes, no])
        assert row.value == pytest.approx(float(last[yes_id] - last[no_id]), abs=1e-4)


def test_likelihood_equals_plain_one_by_one_forward(toy):
    for row in lenses.likelihood(toy, ITEMS, batch=7):
        statement = next(i.statement for i in ITEMS if i.id == row.id)
        alone = _mean_logprob_alone(toy, lenses.LEAD_INS[row.wording], statement)
        assert row.value == pytest.approx(alone, abs=1e-4)


def test_a_minimal_pair_is_the_statement_minus_its_reversal(toy):
    pairs = [rows.Pair(id=i.id, dimension=i.dimension, statement=i.statement, reversal=o.statement)
             for i, o in zip(ITEMS[:3], ITEMS[3:6], strict=True)]  # fmt: skip
    found = lenses.minimal_pairs(toy, pairs, batch=2)
    assert [(r.id, r.wording) for r in found] == [(p.id, w) for p in pairs for w in lenses.LEAD_INS]
    for row in found:
        pair, lead = next(p for p in pairs if p.id == row.id), lenses.LEAD_INS[row.wording]
        apart = _mean_logprob_alone(toy, lead, pair.statement) - _mean_logprob_alone(toy, lead, pair.reversal)
        assert row.value == pytest.approx(apart, abs=1e-4)
    assert lenses.minimal_pairs(toy, []) == []


def test_dilemmas_equal_plain_one_by_one_forward(toy):
    for row in dilemmas.preferences(toy, DILEMMAS, batch=2):
        d = next(d for d in DILEMMAS if d.id == row.id)
        first, second = (d.option_a, d.option_b) if row.order == "a_first" else (d.option_b, d.option_a)
        user = dilemmas.LIKELIHOOD.format(scenario=d.scenario, first=first, second=second)
        alone = _mean_logprob_alone(toy, user, d.option_a) - _mean_logprob_alone(toy, user, d.option_b)
        assert row.value == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("lens", [lenses.choice, lenses.likelihood])
@pytest.mark.parametrize("batch", [1, 4, 64])
def test_batch_and_order_of_items_change_nothing(toy, lens, batch):
    shuffled = random.Random(1).sample(ITEMS, len(ITEMS))
    found = {(r.id, r.wording, r.order): r.value for r in lens(toy, shuffled, batch=batch)}
    for row in lens(toy, ITEMS):
        assert found[row.id, row.wording, row.order] == pytest.approx(row.value, abs=1e-4)


def test_each_dilemma_is_answered_in_both_orders_whatever_the_batch(toy, tmp_path):
    found = dilemmas.choices(toy, DILEMMAS, 64, 1.1)
    assert [(r.id, r.order) for r in found] == [(d.id, order) for d in DILEMMAS for order in ("a_first", "b_first")]
    assert dilemmas.choices(toy, DILEMMAS, 1, 1.1) == found and len({r.reply for r in found}) > 5
    assert files.read(files.write(tmp_path / "c.jsonl", found), rows.DilemmaChoice) == found


def test_batch_of_dilemmas_changes_nothing(toy):
    alone = [r.value for d in DILEMMAS for r in dilemmas.preferences(toy, [d])]
    assert [r.value for r in dilemmas.preferences(toy, DILEMMAS)] == pytest.approx(alone, abs=1e-4)


def test_the_scores_tell_items_apart(toy):
    values = [r.value for r in lenses.choice(toy, ITEMS) if r.wording == "agree" and r.order == "agree_first"]
    assert np.std(values) > 0.01, "a toy without spread would make every invariance test pass"


def test_choice_has_four_wordings_in_both_orders(toy):
    found = lenses.choice(toy, ITEMS[:1])
    assert len(lenses.CHOICES) >= 4 and len(lenses.LEAD_INS) >= 3
    assert {(r.wording, r.order) for r in found} == {(w, o) for w in lenses.CHOICES for o in lenses.ORDERS}
    for wording, (_, yes, no) in lenses.CHOICES.items():
        a, b = (lenses._question("It is so.", wording, order) for order in lenses.ORDERS)
        assert a.index(yes) < a.rindex(no) and b.index(no) < b.rindex(yes)
        assert sorted(a) == sorted(b), "the two orders differ in order only"


def test_rows_keep_their_keys_on_disk(toy, tmp_path):
    scores = lenses.choice(toy, ITEMS) + lenses.likelihood(toy, ITEMS)
    assert files.read(files.write(tmp_path / "s.jsonl", scores), rows.ItemScore) == scores
    texts = lenses.free_text(toy, ITEMS[:2], wordings=2, max_new_tokens=3)
    assert files.read(files.write(tmp_path / "t.jsonl", texts), rows.ItemText) == texts
    assert [(t.id, t.wording) for t in texts] == [(i.id, w) for i in ITEMS[:2] for w in ("opinion", "friend")]


def test_no_items_no_rows(toy):
    assert lenses.choice(toy, []) == lenses.likelihood(toy, []) == dilemmas.preferences(toy, []) == []


def test_too_many_wordings_is_told(toy):
    with pytest.raises(CompanionError, match="item_text_wordings"):
        lenses.free_text(toy, ITEMS, wordings=9)


def test_words_with_one_first_token_are_refused(toy, monkeypatch):
    monkeypatch.setitem(lenses.CHOICES, "agree", ("{} or {}?", "Agree", "Agree not"))
    with pytest.raises(CompanionError, match="begin with one token"):
        lenses.choice(toy, ITEMS[:1])


def test_template_that_rewrites_the_prompt_is_refused(toy):
    other = persona_toys.chat(_texts(), seed=3)
    odd = "{% if not add_generation_prompt %}Statement: {% endif %}"
    other.tokenizer.chat_template = odd + TEMPLATES["chatml"]
    with pytest.raises(CompanionError, match="chat_template"):
        lenses.likelihood(other, ITEMS[:1])


def test_shared_prefix_leaves_every_row_a_token():
    assert scoring.shared_prefix([[1, 2, 3], [1, 2, 4]]) == 2
    assert scoring.shared_prefix([[1, 2, 3], [1, 2, 3]]) == 2
    assert scoring.shared_prefix([[1], [1, 2]]) == 0


def test_float_head_is_float32_and_leaves_the_model_as_it_was(toy):
    half = persona_toys.chat(_texts(), seed=3)
    half.model = half.model.to(torch.bfloat16)
    ids = torch.tensor([half.ids("Statement.")])
    with torch.inference_mode():
        before = half.model(input_ids=ids).logits
        with scoring.float_head(half.model):
            within = half.model(input_ids=ids).logits
        after = half.model(input_ids=ids).logits
    assert before.dtype == after.dtype == torch.bfloat16 and within.dtype == torch.float32
    assert torch.equal(before, after)
    assert torch.allclose(within, before.float(), atol=0.05, rtol=0.02)


def test_padding_at_every_place_is_inert_in_half_precision_too():
    half = persona_toys.chat(_texts(), seed=3)
    half.model = half.model.to(torch.bfloat16)
    alone = [r.value for i in ITEMS for r in lenses.choice(half, [i])]
    assert np.abs(np.subtract(alone, [r.value for r in lenses.choice(half, ITEMS)])).max() < 0.25
