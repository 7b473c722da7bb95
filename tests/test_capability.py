"""Capability: the tasks and answers, what 03 writes of them, and the table that 04 makes of it."""

from collections import Counter

import numpy as np
import persona_toys
import pytest
import torch
from ethical_personas import files
from ethical_personas.evaluate import ask, capability
from ethical_personas.study import materials, rows


@pytest.fixture(scope="module")
def toy():
    texts = [p.prompt for p in materials.prompts("eval", "helpful")] + list(materials.held_out_answers().values())
    return persona_toys.chat([*texts, *(t.prompt for t in materials.tasks())], seed=1)


def test_skills_have_equal_numbers_and_no_prompt_stands_twice():
    tasks = materials.tasks()
    assert len(tasks) == 200 and 8 <= len(counts := Counter(t.skill for t in tasks)) <= 10
    assert len(set(counts.values())) == 1
    assert len({t.prompt for t in tasks}) == len(tasks)
    assert not [t.id for t in tasks if set(t.answers) & set(t.wrong)]


def test_choices_do_not_favour_one_place():
    """A model that always takes the first choice, or always says no, must not profit."""
    choices = [t for t in materials.tasks() if t.skill in ("kinds", "translate")]
    first = [t.prompt.index(t.answers[0]) < t.prompt.index(t.wrong[0]) for t in choices]
    assert abs(sum(first) - len(first) / 2) <= 2
    said = Counter(t.answers[0] for t in materials.tasks() if t.skill == "yes_no")
    assert said["yes"] == said["no"]


def test_every_helpful_evaluation_prompt_has_an_answer_of_like_length_that_is_not_trained_on():
    answers = materials.held_out_answers()
    assert set(answers) == {p.id for p in materials.prompts("eval", "helpful")}
    assert all(40 <= len(a.split()) <= 60 for a in answers.values())
    assert not set(answers.values()) & set(materials.written_answers().values())


def test_replies_keep_their_task_and_are_short(toy):
    tasks = ask.tasks("source", 2)
    assert set(Counter(t.skill for t in tasks).values()) == {2}
    found = capability.replies(toy, tasks, batch=7, repetition_penalty=1.0)
    assert [(r.id, r.skill, r.model) for r in found] == [(t.id, t.skill, "source") for t in tasks]
    assert max(len(toy.tokenizer(r.reply)["input_ids"]) for r in found) <= capability.REPLY_TOKENS


def test_a_checkpoint_is_asked_neither():
    assert ask.tasks("deontology-harassment-s0@6", 0) == []
    assert ask.answered("deontology-harassment-s0@6", ask.prompts(2)) == []
    assert len(ask.answered("source", ask.prompts(2))) == 2


def test_loss_equals_a_plain_one_by_one_forward_whatever_the_batch(toy, tmp_path):
    pairs = ask.answered("source", ask.prompts(5))
    found = capability.losses(toy, pairs, batch=3)
    for row, (prompt, answer) in zip(found, pairs, strict=True):
        begin, whole = toy.ids(prompt.prompt), toy.ids(prompt.prompt, answer)
        end = whole.index(toy.end_of_turn, len(begin))
        with torch.inference_mode():
            scores = toy.model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        alone = -np.mean([float(scores[t - 1, whole[t]]) for t in range(len(begin), end)])
        assert row.id == prompt.id and row.tokens == end - len(begin)
        assert row.loss == pytest.approx(alone, abs=1e-4)
    alone = capability.losses(toy, pairs, batch=1)
    assert [r.loss for r in alone] == pytest.approx([r.loss for r in found], abs=1e-4)
    assert files.read(files.write(tmp_path / "losses.jsonl", found), rows.AnswerLoss) == found
