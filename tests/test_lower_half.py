"""The lower half computed once: the same training as with all layers at every step."""

import families
import pytest
import torch
import training_sets
from ethical_personas.finetune import lora, lower_half, targets
from ethical_personas.models import lower_states
from safetensors.torch import load_file

RECIPE = lora.Recipe(4, 8, "upper", 1e-3, 2, 4, 1, 1, 400)
ROWS = [list(range(3, 3 + n)) for n in (9, 14, 5, 14)]
ALL_STEPS = "lower half of the layers: computed at every step"


@pytest.fixture
def rows():
    return training_sets.chosen("virtue", "harassment", 4, 2, 1, 1)


@pytest.fixture
def never(monkeypatch):
    """A call after which training runs all layers at every step."""
    return lambda: monkeypatch.setattr(lower_half, "build", lambda *_: None)


def padded(model, change=lambda states: None):
    """A batch of two rows, its last hidden states from the stored ones and from the whole forward."""
    ids, mask = lower_half._right_padded([torch.tensor(ROWS[0]), torch.tensor(ROWS[1])])
    inputs = {"input_ids": ids, "attention_mask": mask}
    half = lower_half.build(model, ROWS)
    with torch.no_grad():
        change(half.states)
        with half.use_stored_states(inputs):
            ours = model.base_model(**inputs, use_cache=False)[0]
        return ours[mask == 1], model.base_model(**inputs, use_cache=False)[0][mask == 1]


@pytest.mark.parametrize("family", families.CONFIGS)
def test_stored_states_stand_for_the_lower_half_in_every_family(family):
    ours, whole = padded(targets.tuned(families.model(family), 2, 4, "upper").train().get_base_model())
    torch.testing.assert_close(ours, whole, atol=1e-4 * whole.abs().max(), rtol=0)


def test_it_is_the_stored_states_that_are_read():
    ours, whole = padded(families.model("llama"), lambda states: [s.zero_() for s in states.values()])
    assert (ours - whole).abs().max() > 0.1 * whole.abs().max()


def test_rows_are_kept_without_padding_and_the_layers_forward_comes_back():
    model = families.model("llama")
    half = lower_half.build(model, ROWS)
    assert {row: tuple(state.shape) for row, state in half.states.items()} == {
        tuple(row): (len(row), 32) for row in ROWS
    }
    assert half.mib * 2**20 == 4 * 32 * (9 + 14 + 5) and "for 3 rows" in lower_half.described(half)
    assert not any("forward" in vars(layer) for layer in lower_states.decoder_layers(model))


def test_dropout_keeps_the_ordinary_path():
    model = families.model("gpt2").train()
    assert lower_half.build(model, ROWS)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.2
    assert lower_half.build(model, ROWS) is None and lower_half.described(None) == ALL_STEPS


def test_a_layer_that_reads_more_than_the_one_below_keeps_the_ordinary_path():
    model = families.model("llama")
    layers, seen = lower_states.decoder_layers(model), []
    layers[0].register_forward_hook(lambda _, args, out: seen.append(out))
    layers[-1].register_forward_hook(lambda _, args, out: out + seen.pop())
    assert lower_half.build(model, ROWS) is None


@pytest.mark.parametrize("family", families.FORMATS)
def test_training_is_the_same_with_and_without(family, rows, tmp_path, never, capsys):
    texts = [text for row in rows for text in (row.prompt, row.answer)]
    for name in ("once", "always"):
        log = lora.finetune(families.chat(family, texts), rows, RECIPE, 0, tmp_path / name)
        losses = log["loss"].tolist()
        if name == "once":
            assert "computed once for" in capsys.readouterr().out
            first = losses
            never()
    assert ALL_STEPS in capsys.readouterr().out
    assert first == pytest.approx(losses, rel=1e-4) and len(losses) == 6
    once, always = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("once", "always"))
    assert once.keys() == always.keys()
    for name, weight in once.items():
        torch.testing.assert_close(weight, always[name], atol=5e-5, rtol=0)


def test_adapters_on_all_layers_keep_the_ordinary_path(load, rows, tmp_path, capsys):
    lora.finetune(
        load(),
        rows,
        lora.Recipe(**vars(RECIPE) | {"lora_layers": "all", "epochs": 20, "learning_rate": 5e-3}),
        0,
        tmp_path / "a",
    )
    assert "lower half" not in capsys.readouterr().out
