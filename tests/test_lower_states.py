"""Scoring with the source's lower half: the same to the byte, or all layers where it does not stand for them."""

from types import SimpleNamespace

import families
import pytest
import torch
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import ask, scoring
from ethical_personas.models import lower_states
from ethical_personas.models.chats import Chat
from ethical_personas.run import Run

PREFIXES = [[5, 6, 7, 8], [9, 10, 11, 12, 13, 14]]
ENDINGS = [[[20, 21], [22]], [[23, 24, 25], [26, 27]]]
RECURRENT = {"lfm2", "qwen3_5"}


def chat(family="llama", name="source", tuned=False, place="upper"):
    model = families.model(family)
    layers = lower_states.decoder_layers(model)
    if tuned:
        torch.manual_seed(1)
        with torch.no_grad():
            for layer in layers[2:] if place == "upper" else layers[:1]:
                for weight in layer.parameters():
                    weight.add_(torch.randn_like(weight) * 0.3)
    return Chat(name, model, SimpleNamespace(pad_token_id=0))


def score(one, prefixes=PREFIXES, endings=ENDINGS):
    return scoring.logits(one, prefixes, endings, keep=1)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "eval" / "lower_states.safetensors"


@pytest.fixture
def left(place):
    """What a llama's source leaves."""
    source = chat()
    source.lower = lower_states.open_states(source.model, place, source=True)
    score(source)
    lower_states.save_states(source.model, source.lower, place)
    return place


@pytest.mark.parametrize("family", families.CONFIGS)
def test_scores_are_the_same_to_the_byte_in_every_family(family, place):
    source, tuned = chat(family), chat(family, "tuned", tuned=True)
    whole, theirs = score(source), score(tuned)
    assert not torch.equal(whole, theirs)
    source.lower = lower_states.open_states(source.model, place, source=True)
    assert torch.equal(score(source), whole)
    lower_states.save_states(source.model, source.lower, place)
    tuned.lower = lower_states.open_states(tuned.model, place, source=False)
    assert torch.equal(score(tuned), theirs)
    if family in RECURRENT:
        assert not place.exists() and lower_states.described(tuned.lower) == "all layers computed in every pass"
    else:
        assert "kept for the tuned models: 2 forwards" in lower_states.described(source.lower)
        assert lower_states.described(tuned.lower) == "lower half of the layers taken from the source in 1 passes"
    assert not any("forward" in vars(layer) for layer in lower_states.decoder_layers(tuned.model))


def test_it_is_the_stored_states_that_are_read(left):
    tuned = chat(tuned=True)
    whole = score(tuned)
    with torch.no_grad():
        lower_states.decoder_layers(tuned.model)[0].mlp.down_proj.weight.zero_()
    assert not torch.equal(score(tuned), whole)
    tuned.lower = lower_states.LowerStates(tuned.model, left)
    assert torch.equal(score(tuned), whole)


def test_other_tokens_or_another_batch_are_computed_whole(left):
    tuned = chat(tuned=True)
    tuned.lower = lower_states.open_states(tuned.model, left, source=False)
    for prefixes, endings in [(PREFIXES, [ENDINGS[0], ENDINGS[0]]), (PREFIXES[:1], ENDINGS[:1])]:
        found = score(tuned, prefixes, endings)
        assert tuned.lower.passes == 0
        assert torch.equal(found, score(chat(tuned=True), prefixes, endings))


def test_a_model_with_another_lower_half_or_computed_otherwise_reads_nothing(left, monkeypatch):
    assert lower_states.open_states(chat(tuned=True).model, left, source=False)
    assert lower_states.open_states(chat(tuned=True, place="lower").model, left, source=False) is None
    assert lower_states.open_states(chat("mistral").model, left, source=False) is None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert lower_states.open_states(chat(tuned=True).model, left, source=False) is None


def test_a_layer_that_reads_more_than_the_one_below_keeps_the_ordinary_path(place):
    source, seen = chat(), []
    layers = lower_states.decoder_layers(source.model)
    layers[0].self_attn.register_forward_hook(lambda _, args, out: seen.append(out[0]))
    layers[-1].register_forward_hook(lambda _, args, out: out + seen.pop().mean() if seen else out)
    source.lower = lower_states.open_states(source.model, place, source=True)
    whole = score(source)
    lower_states.save_states(source.model, source.lower, place)
    source.lower = None
    assert not place.exists() and torch.equal(whole, score(source))


def test_a_damaged_file_is_named_with_what_to_do(left):
    left.write_bytes(left.read_bytes()[:40])
    with pytest.raises(CompanionError, match=r"lower_states\.safetensors: damaged \(.*\); remove it"):
        lower_states.open_states(chat().model, left, source=False)


def test_nothing_half_written_stays(left, monkeypatch):
    before = left.read_bytes()

    def broken(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(lower_states, "save_file", broken)
    source = chat()
    source.lower = lower_states.open_states(source.model, left, source=True)
    score(source, PREFIXES[:1], ENDINGS[:1])
    with pytest.raises(OSError, match="no space"):
        lower_states.save_states(source.model, source.lower, left)
    assert left.read_bytes() == before and [f.name for f in left.parent.iterdir()] == [left.name]


def test_a_run_hands_them_from_the_source_to_its_models(tmp_path):
    run = Run(str(tmp_path / "runs/mine"), "cpu")
    source, tuned = chat(), chat(name="virtue-broad-s0", tuned=True)
    ask.reuse_lower_states(run, tuned)
    assert tuned.lower is None and ask.save_lower_states(run, tuned) == "all layers computed in every pass"
    ask.reuse_lower_states(run, source)
    score(source)
    assert "kept" in ask.save_lower_states(run, source) and run.path(ask.LOWER_STATES).is_file()
    ask.reuse_lower_states(run, tuned)
    score(tuned)
    assert "in 1 passes" in ask.save_lower_states(run, tuned)
