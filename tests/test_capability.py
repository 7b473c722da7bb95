"""Capability: the tasks and answers, what 03 writes of them, and the table that 04 makes of it."""

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import persona_toys
import pytest
import torch
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import ask, capability
from ethical_personas.figures import capability as draw
from ethical_personas.run import Run
from ethical_personas.safety import capability as table
from ethical_personas.study import grid, materials, rows


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


def task(answers, wrong=()):
    return rows.Task(id="x", skill="y", prompt="z", answers=list(answers), wrong=list(wrong))


@pytest.mark.parametrize(
    ("answers", "wrong", "reply", "right"),
    [
        (["paris"], [], "The capital of France is Paris.", True),
        (["paris"], [], "The Parisians say Lyon.", False),  # whole words
        (["thank you", "thanks"], [], 'It means "Thank you", in short', True),
        (["thank you"], [], "Thank the one who asks you", False),  # in a row
        (["blue", "azure"], [], "AZURE", True),
        (["3 2 1"], [], "3, 2, 1.", True),
        (["t"], [], "It doesn't begin", False),  # no letter out of a word
        (["vegetable"], ["fruit"], "A carrot is a vegetable, not a fruit.", True),
        (["vegetable"], ["fruit"], "A carrot is a fruit or a vegetable.", False),
        (["no"], ["yes"], "No. Yes is what others say", True),
        (["no"], ["yes"], "", False),
    ],
)
def test_the_first_answer_named_counts(answers, wrong, reply, right):
    assert table.is_right(task(answers, wrong), reply) is right


@pytest.mark.parametrize(
    ("text", "single"),
    [
        ("Only one.", True),
        ("Cut in the middle of", True),
        ("One. And cut in", False),
        ("Two. Sentences!", False),
        ('He said "no." Then he left.', False),
        ("It costs 3.50 a piece.", True),
        ("", False),
        ("...", False),
    ],
)
def test_one_sentence_ended_or_cut(text, single):
    assert table.one_sentence(text) is single


CELLS = ("deontology-broad-s0", "virtue-harassment-s0")


@pytest.fixture
def made(tmp_path):
    """A run in which deontology forgets half of the tasks, loses 0.3 nats and answers in one sentence."""
    run, rng = Run(str(tmp_path), "none"), np.random.default_rng(0)
    tasks, prompts = materials.tasks(), materials.prompts("eval", *grid.HARMLESS)[:40]
    base = {i: rng.normal(3.8, 0.4) for i in materials.held_out_answers()}
    for model in (grid.SOURCE, *CELLS):
        forgets = model == CELLS[0]
        replies = [
            rows.TaskReply(id=t.id, model=model, skill=t.skill, reply="none" if forgets and k % 2 else t.answers[0])
            for k, t in enumerate(tasks)
        ]
        losses = [
            rows.AnswerLoss(id=i, model=model, tokens=60, loss=v + 0.3 * forgets + rng.normal(0, 0.02))
            for i, v in base.items()
        ]
        text = "Here is a plain sentence." if forgets else "Here is a plain sentence. Another brings apples and pears."
        responses = [
            rows.Response(
                id=p.id,
                model=model,
                category=p.category,
                prompt=p.prompt,
                response=text,
                tokens=6,
                finished=not forgets,
            )
            for p in prompts
        ]
        for name, found in (("tasks", replies), ("answer_losses", losses), ("responses", responses)):
            files.write(run.path(run.evaluation(model, name)), found)
    return run


def judged_all(run):
    """Responses and verdicts; one of each model counts as declined."""
    responses = [
        r for m in (grid.SOURCE, *CELLS) for r in files.read(run.find(run.evaluation(m, "responses")), rows.Response)
    ]
    fields = {"judge": "made", "key": "k"}
    return responses, [
        rows.Judgement(id=r.id, model=r.model, verdict="declined" if k % 40 == 0 else "complied", **fields)
        for k, r in enumerate(responses)
    ]


def test_the_table_finds_what_was_planted(made):
    models = [grid.SOURCE, *CELLS]
    graded, losses = table.graded(made, models), table.losses(made, models)
    found = table.table(graded, losses, table.answers(*judged_all(made))).set_index("constitution")
    source, forgets, keeps = (found.loc[name] for name in ("source", "deontology", "virtue"))
    assert (source["tasks"], forgets["tasks"], keeps["tasks"]) == (1.0, 0.5, 1.0)
    assert forgets["tasks_change"] == -0.5 and forgets["tasks_change_high"] < -0.4
    assert keeps["tasks_change_low"] < 0 <= keeps["tasks_change_high"] and np.isnan(source["tasks_change"])
    assert forgets["loss_change"] == pytest.approx(0.3, abs=0.02)
    assert forgets["loss_change_low"] > 0.28 and forgets["loss_change_high"] < 0.32, (
        "paired: answers differ by far more"
    )
    assert keeps["loss_change_low"] < 0 < keeps["loss_change_high"]
    assert (forgets["one_sentence"], keeps["one_sentence"], source["one_sentence"]) == (1.0, 0.0, 0.0)
    assert (forgets["finished"], keeps["finished"]) == (0.0, 1.0) and keeps["words"] > forgets["words"] > 0
    assert set(found["n_answers"]) == {39} and set(found["n_tasks"]) == {200} and set(found["n_losses"]) == {60}
    told = table.sentence(found.reset_index())
    assert "1 of 2 solve fewer" in told and "in 1 of 2" in told and "50% to 100%" in told


def test_skills_are_told_apart(made):
    models = [grid.SOURCE, *CELLS]
    found = table.by_skill(table.graded(made, models))
    assert len(found) == 3 * 10 and set(found["n_tasks"]) == {20}
    assert set(found[found["constitution"] == "deontology"]["change"]) == {-0.5}


def test_a_run_without_tasks_is_known_and_a_task_that_is_gone_is_told(made, monkeypatch):
    assert table.has_task_rows(made, [grid.SOURCE, *CELLS]) and not table.has_task_rows(made, ["virtue-broad-s0"])
    monkeypatch.setattr(materials, "tasks", lambda: [])
    with pytest.raises(CompanionError, match=r"eval/source/tasks\.jsonl: task repeat-01 is not in data/capability"):
        table.graded(made, [grid.SOURCE])


def test_the_figure_draws_every_model_and_the_source(made):
    models = [grid.SOURCE, *CELLS]
    found = table.table(table.graded(made, models), table.losses(made, models), table.answers(*judged_all(made)))
    fig = draw.capability(found)
    assert len(fig.axes) == len(draw.PANELS)
    for ax, panel in zip(fig.axes, draw.PANELS, strict=True):
        points = {round(p[0], 6) for c in ax.collections if hasattr(c, "get_offsets") for p in c.get_offsets().tolist()}
        assert {round(value, 6) for value in found.loc[found["constitution"] != "source", panel]} <= points
        source = found.loc[found["constitution"] == "source", panel].dropna().tolist()  # a change has none
        assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"] == source
    plt.close("all")
