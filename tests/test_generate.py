"""Greedy decoding by its own definition, one row and one token at a time."""

import pytest
import torch
import transformers
from ethical_personas.models import decode
from ethical_personas.study import materials

PROMPTS = [p.prompt for p in materials.prompts("train", "helpful")][:6]


def by_hand(chat, prompt, number, penalty, whole=False):
    """Greedy answer without batching, cache or padding; the penalty sees the answer only, or the `whole` turn."""
    ids, new = chat.ids(prompt), []
    for _ in range(number):
        with torch.no_grad():
            scores = chat.model(torch.tensor([ids + new])).logits[0, -1].double()
        scores[chat.tokenizer.pad_token_id] = -torch.inf
        for token in set(ids + new if whole else new):
            scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
        new.append(int(scores.argmax()))
        if new[-1] == chat.tokenizer.eos_token_id:
            break
    return new


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_a_ragged_batch_answers_as_each_row_alone(load, penalty):
    chat = load()
    assert len({len(chat.ids(p)) for p in PROMPTS}) > 1
    wanted = [by_hand(chat, p, 10, penalty) for p in PROMPTS]
    found = decode.answers(chat, PROMPTS, 10, len(PROMPTS), penalty)
    assert [a.text for a in found] == [chat.tokenizer.decode(w, skip_special_tokens=True).strip() for w in wanted]
    assert [a.tokens for a in found] == [len(w) for w in wanted]


@pytest.mark.parametrize("never", [[], [3]])
def test_rules_in_place_give_what_transformers_processors_give(never):
    chance = torch.Generator().manual_seed(0)
    ids, scores = torch.randint(0, 9, (5, 12), generator=chance), torch.randn(5, 9, generator=chance)
    theirs = transformers.RepetitionPenaltyLogitsProcessor(1.3, prompt_ignore_length=7)(ids, scores.clone())
    if never:
        theirs = transformers.SuppressTokensLogitsProcessor(never)(ids, theirs)
    assert torch.equal(decode._Rules(7, 1.3, never)(ids, scores.clone()), theirs)
    assert not torch.equal(theirs, scores)


@pytest.mark.long
def test_the_penalty_sees_the_answer_and_not_the_prompt(load):
    # Long prompts, so that a random model's favourite words are often among theirs.
    words = [p.prompt for p in materials.prompts("train", "helpful")]
    chat, prompts = load(), [" ".join(words[k : k + 20]) for k in range(0, 240, 20)]
    found = [a.text for a in decode.answers(chat, prompts, 10, 12, 1.3)]
    own, whole = (
        [chat.tokenizer.decode(by_hand(chat, p, 10, 1.3, w), skip_special_tokens=True).strip() for p in prompts]
        for w in (False, True)
    )
    assert found == own != whole


def test_the_penalty_matters_in_the_answer(load):
    # Long enough for a greedy random model to come back to a word, and a penalty that then forbids it.
    assert decode.answers(load(), PROMPTS, 60, 6, 1.0) != decode.answers(load(), PROMPTS, 60, 6, 9.0)


def test_finished_means_ended_by_itself(load, monkeypatch):
    chat = load()
    end, pad = chat.tokenizer.eos_token_id, chat.tokenizer.pad_token_id
    word = chat.tokenizer.encode("help")[0]
    ends = torch.tensor([[word, word, word, end], [end, pad, pad, pad], [word, end, pad, pad], [word] * 4])

    def scripted(input_ids, **_):
        return torch.cat([input_ids, ends], dim=1)

    monkeypatch.setattr(chat.model, "generate", scripted)
    found = decode.answers(chat, ["same"] * 4, 4)
    assert [(a.text, a.tokens, a.finished) for a in found] == [
        ("helphelphelp", 4, True),
        ("", 1, True),
        ("help", 2, True),
        ("helphelphelphelp", 4, False),
    ]


def test_no_prompts_no_answers(load):
    assert decode.answers(load(), [], 4) == []


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("One. Two! Three? Four", "One. Two! Three?"),
        ('He said "no." And', 'He said "no."'),
        ("(Not now.) Then", "(Not now.)"),
        ("Version 2.5 is", ""),
        ("Whole.", "Whole."),
        ("First.\n\nSecond", "First."),
        ("none", ""),
        ("", ""),
    ],
)
def test_a_cut_answer_ends_with_its_last_whole_sentence(text, whole):
    assert decode.whole_sentences(text) == whole


def test_batch_size_and_order_change_nothing(load):
    prompts = [p.prompt for p in materials.prompts("train", "helpful")][:9]
    one = decode.answers(load(), prompts, 12, 1)
    many = decode.answers(load(), prompts, 12, 9)
    turned = decode.answers(load(), prompts[::-1], 12, 4)[::-1]
    assert one == many == turned
    assert len({a.text for a in one}) > 1
