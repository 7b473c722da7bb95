"""What a training run does to weights, disk and budget, on a tiny model."""

import pandas as pd
import pytest
import torch
import training_sets
from ethical_personas.errors import CompanionError
from ethical_personas.finetune import look, lora
from ethical_personas.models import chats, decode
from ethical_personas.models.templates import TEMPLATES
from ethical_personas.study import grid
from safetensors.torch import load_file
from transformers import set_seed
from trl import SFTTrainer

RECIPE = lora.Recipe(4, 8, "upper", 5e-3, 2, 8, 1, 1, 400)


@pytest.fixture(scope="module")
def small():
    return training_sets.chosen("deontology", "harassment", 4, 2, 1, 1)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("system", ["", "Be kind."])
@pytest.mark.parametrize("cut", [False, True])
def test_the_loss_is_on_the_answers_turn_token_for_token(load, tmp_path, template, system, cut):
    small = training_sets.chosen("deontology", "harassment", 6, 3, 2, 1, cut=cut)
    chat = load(chat_template=template, system_prompt=system)
    made = lora.trainer(chat, small, RECIPE, 0, tmp_path)
    wanted = set()
    for r in small:
        prompt, whole = chat.ids(r.prompt), chat.ids(r.prompt, r.answer)
        end = len(whole) if r.complete else len(whole) - 1 - whole[::-1].index(chat.end_of_turn)
        wanted.add((tuple(prompt), tuple(whole[len(prompt) : end])))
    assert {r.complete for r in small} == ({True, False} if cut else {True})
    found = set()
    for batch in made.get_train_dataloader():
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            learnt = labels != -100
            assert not (learnt & (mask == 0)).any()
            assert (labels[learnt] == ids[learnt]).all()
            found.add((tuple(ids[(mask == 1) & ~learnt].tolist()), tuple(ids[learnt].tolist())))
    assert found == wanted


def test_every_cell_of_a_recipe_has_the_same_budget(load, tmp_path):
    budgets = set()
    for cell in grid.cells(grid.CONSTITUTIONS, grid.SCOPES, [0]):
        chosen = training_sets.chosen(cell.constitution, cell.scope, 6, 6, 3, 3)
        made = lora.trainer(load(), chosen, RECIPE, 0, tmp_path)
        trained = sum(w.numel() for w in made.model.parameters() if w.requires_grad)
        steps = len(made.get_train_dataloader()) * made.args.num_train_epochs
        budgets.add((steps, trained, len(made.train_dataset)))
    assert len(budgets) == 1 and budgets.pop()[0] == 6  # 24 rows by 8, twice


@pytest.mark.parametrize(("layers", "wanted"), [("upper", {2, 3}), ("all", {0, 1, 2, 3})])
def test_lora_reaches_the_chosen_layers_and_nothing_else_learns(load, small, tmp_path, layers, wanted):
    recipe = lora.Recipe(**vars(RECIPE) | {"lora_layers": layers})
    made = lora.trainer(load(), small, recipe, 0, tmp_path)
    learning = [n for n, w in made.model.named_parameters() if w.requires_grad]
    assert all("lora_" in n for n in learning)
    assert {int(n.split("layers.")[1].split(".")[0]) for n in learning} == wanted
    attention, mlp = {f"{x}_proj" for x in "qkvo"}, {f"{x}_proj" for x in ("gate", "up", "down")}
    assert {n.split(".lora_")[0].rsplit(".", 1)[1] for n in learning} == attention | mlp


def test_the_log_tells_what_happened(load, small, tmp_path, capsys):
    log = lora.finetune(load(), small, RECIPE, 0, tmp_path / "a")
    matrices = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    tuned = ", ".join(f"{name} x 2" for name in matrices)
    assert f"LoRA on 14 matrices (upper layers): {tuned}\n" in capsys.readouterr().out
    assert log["step"].tolist() == [1, 2, 3, 4]  # 12 rows by 8, twice
    assert log["epoch"].iloc[-1] == 2 and log["loss"].iloc[-1] < log["loss"].iloc[0]
    lengths = sum(len(load().ids(r.prompt, r.answer)) for r in small)
    assert log["tokens"].iloc[-1] == 2 * lengths  # padding left out
    assert log["seconds"].is_monotonic_increasing and log["learning_rate"].max() == pytest.approx(5e-3)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a/log.csv"), log, check_dtype=False)
    assert look.cost(log).loc[0, ["steps", "tokens"]].tolist() == [4, 2 * lengths]


def test_accumulated_halves_learn_what_the_whole_batch_learns(load, small, tmp_path):
    """The loss counts tokens over the whole step, so halves of unequal length weigh by their tokens."""
    adapters = []
    for size, times in ((12, 1), (3, 4)):
        recipe = lora.Recipe(4, 8, "upper", 1e-3, 3, size, times, 0, 400)
        lora.finetune(load(), small, recipe, 0, tmp_path / str(size))
        adapters.append(load_file(tmp_path / str(size) / "adapter_model.safetensors"))
    for name, weight in adapters[0].items():
        torch.testing.assert_close(weight, adapters[1][name], atol=2e-5, rtol=0)


def test_what_was_tuned_is_what_was_saved(load, small, tmp_path):
    chat = load()
    lora.finetune(chat, small, RECIPE, 0, tmp_path / "a", checkpoints=[1, 3])
    kept = sorted(p.name for p in (tmp_path / "a/checkpoints").iterdir())
    assert kept == ["1", "3"] and not chat.model.training
    ids = torch.tensor([chat.ids(small[0].prompt)])
    with torch.no_grad():
        after, again, last, early = (
            c.model(ids).logits
            for c in (chat, *(load(tmp_path / "a" / p) for p in ("", "checkpoints/3", "checkpoints/1")))
        )
    torch.testing.assert_close(after, again, atol=1e-4, rtol=0)
    # The fourth step still moved it, the first had moved it less.
    assert 1e-5 < (after - last).abs().max() < (after - early).abs().max()
    assert decode.answers(chat, ["Hello?"], 8) == decode.answers(load(tmp_path / "a"), ["Hello?"], 8)


def test_training_again_replaces_the_adapter_and_its_checkpoints(load, small, tmp_path):
    lora.finetune(load(), small, RECIPE, 0, tmp_path / "a", checkpoints=[1])
    before = (tmp_path / "a/adapter_model.safetensors").read_bytes()
    lora.finetune(load(), small, RECIPE, 1, tmp_path / "a")
    assert (tmp_path / "a/adapter_model.safetensors").read_bytes() != before
    assert not (tmp_path / "a/checkpoints").exists() and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_training_that_dies_leaves_the_old_adapter_and_no_debris(load, small, tmp_path, monkeypatch):
    lora.finetune(load(), small, RECIPE, 0, tmp_path / "a")
    before = (tmp_path / "a/adapter_model.safetensors").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="No space"):
        lora.finetune(load(), small, RECIPE, 1, tmp_path / "a")
    assert (tmp_path / "a/adapter_model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_probes_are_requests_that_the_cell_is_not_trained_on(small):
    found = look.probes(small, 3)
    assert len(found) == 4 and not {p.id for p in found} & {r.id for r in small}
    assert [p.category == "helpful" for p in found] == [False, False, False, True]
    assert {p.split for p in found} == {"train"}


def test_the_fast_loss_equals_trls(load, small, tmp_path):
    made = lora.trainer(load(), small, RECIPE, 0, tmp_path)
    batch = next(iter(made.get_train_dataloader()))
    count = (batch["labels"][:, 1:] != -100).sum()
    fast = made.compute_loss(made.model, dict(batch), num_items_in_batch=count)
    slow = SFTTrainer.compute_loss(made, made.model, dict(batch), num_items_in_batch=count)
    assert fast.item() == pytest.approx(slow.item(), abs=1e-4)


def test_the_opening_weight_counts_the_first_token_of_every_answer(load, small, tmp_path):
    chat = load()
    made = lora.trainer(chat, small, lora.Recipe(**vars(RECIPE) | {"opening_weight": 5}), 0, tmp_path)
    batch = next(iter(made.get_train_dataloader()))
    labels = batch["labels"]
    with torch.no_grad():
        weighted = made.compute_loss(made.model, dict(batch)).item()
        logits = made.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
    total = 0.0
    for row, scores in zip(labels.tolist(), logits.log_softmax(-1), strict=True):
        learnt = [k for k, token in enumerate(row) if token != -100]
        total -= sum(float(scores[k - 1, row[k]]) * (5 if k == learnt[0] else 1) for k in learnt)
    assert weighted == pytest.approx(total / int((labels != -100).sum()), rel=1e-4)


def test_an_adapter_changes_the_output_and_merging_it_does_not(load, small, tmp_path):
    chat = load()
    log = lora.finetune(chat, small, RECIPE, 0, tmp_path / "a", checkpoints=[1])
    assert log["step"].tolist() == list(range(1, len(log) + 1))
    assert (tmp_path / "a/checkpoints/1/adapter_model.safetensors").is_file()
    ids = torch.tensor([chat.ids(small[0].prompt)])
    with torch.no_grad():
        base, merged, apart, early = (
            model.model(ids).logits
            for model in (
                load(),
                load(tmp_path / "a"),
                load(tmp_path / "a", merge=False),
                load(tmp_path / "a/checkpoints/1"),
            )
        )
    assert (base - merged).abs().max() > 1e-3
    assert (early - merged).abs().max() > 1e-4
    torch.testing.assert_close(merged, apart, atol=1e-4, rtol=0)


def test_the_same_seed_trains_the_same_adapter(load, small, tmp_path):
    for name in "ab":
        lora.finetune(load(), small, RECIPE, 0, tmp_path / name)
    lora.finetune(load(), small, RECIPE, 1, tmp_path / "c")
    a, b, c = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in "abc")
    assert a == b != c


def test_adapters_in_the_models_bfloat16_learn_what_float32_ones_learn(tiny, small, tmp_path):
    """Losses of equal steps within 0.5 % of float32 adapters on the same bfloat16 model, 2 % of float32 throughout."""
    recipe, found = lora.Recipe(**vars(RECIPE) | {"epochs": 8, "learning_rate": 1e-2}), {}
    for model, adapter in (("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("float32", "float32")):
        set_seed(0)
        made = lora.trainer(chats.load(f"path:{tiny}", dtype=model), small, recipe, 0, tmp_path)
        learning = [weight for weight in made.model.parameters() if weight.requires_grad]
        assert {str(weight.dtype) for weight in learning} == {f"torch.{model}"}
        for weight in learning:
            weight.data = weight.data.to(getattr(torch, adapter))
        made.train()
        found[model, adapter] = [h["loss"] for h in made.state.log_history if "loss" in h]
    ours, apart, exact = found.values()
    assert ours == pytest.approx(apart, rel=0.005) and ours == pytest.approx(exact, rel=0.02)
    assert ours[-1] < 0.8 * ours[0], "far more than the tolerance is learnt"


def test_a_row_longer_than_max_length_is_not_cut(load, small, tmp_path):
    short = lora.Recipe(4, 8, "upper", 5e-3, 1, 8, 1, 1, 20)
    with pytest.raises(CompanionError, match="max_length"):
        lora.trainer(load(), small, short, 0, tmp_path)
