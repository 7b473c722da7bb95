"""What a run is said to take: counted from profile and data, timed by what was measured."""

import json

import pandas as pd
import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.paths import DATA
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import estimate, memory


def amounts(name, **changes):
    p = profiles.load(name, {}).model_copy(update=changes)
    return {load.what: load for load in estimate.loads(p)}


def test_jobs_are_cells_and_models():
    found = amounts("cpu", seeds=[0, 1])
    assert found["training"].jobs == 2 * 19 and found["answers to prompts and items"].jobs == 2 * 19 + 1


def test_work_grows_with_what_asks_for_it():
    one, more = amounts("cpu"), amounts("cpu", seeds=[0, 1], epochs=8.0, max_new_tokens=96)
    assert more["training"].amount == pytest.approx(4 * one["training"].amount)
    assert more["answers to prompts and items"].amount > 2 * one["answers to prompts and items"].amount
    assert amounts("cpu", harmless_targets="written")["source answers"].amount == 0


def test_training_tokens_are_near_those_of_a_run():
    cell = amounts("cpu")["training"]
    records = [json.loads(p.read_text()) for p in (DATA / "reference/cpu/provenance").glob("02_finetune-*.json")]
    trained = [r["tokens_per_second"] * r["train_seconds"] for r in records]  # padding left out
    assert len(trained) == cell.jobs and 0.7 < cell.amount / sum(trained) < 1.2


def test_hours_follow_the_rates(tmp_path, monkeypatch):
    p = profiles.load("paper", {})
    said = estimate.text(p, "paper")
    hours = float(said.partition("about ")[2].split()[0])
    slower = pd.read_csv(estimate.RATES).assign(rate=lambda t: t["rate"] / 2)
    slower.to_csv(tmp_path / "rates.csv", index=False)
    monkeypatch.setattr(estimate, "RATES", tmp_path / "rates.csv")
    twice = float(estimate.text(p, "paper").partition("about ")[2].split()[0])
    assert twice == pytest.approx(2 * hours, abs=0.16), "both are rounded"
    assert "teacher:" in said and "judge:" in said


def test_only_constitutions_with_a_paid_teacher_cost():
    (one,), (all_four,) = (
        estimate.paid(profiles.load("cpu", {"teacher": text, "teacher_model": "m"}))
        for text in ("{virtue: api}", "api")
    )
    assert 4 * one[1] == all_four[1]


def test_a_free_profile_names_no_endpoint():
    assert estimate.paid(profiles.load("cpu", {})) == []


def test_a_profile_that_has_been_run_is_timed_by_its_own_jobs(monkeypatch):
    monkeypatch.setattr(estimate, "measured", lambda name: {"02_finetune": {"jobs": 4, "wall_seconds": 100.0}})
    assert "02_finetune: 25 s a job" in estimate.text(profiles.load("cpu", {}), "cpu")


def test_a_card_is_asked_for_and_can_be_hidden(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 81559\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert memory.card() == 81559 * 9 // 10
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert memory.card() == 0


def test_a_card_that_is_too_small_is_named():
    assert memory.fits(0, 1) == memory.fits(8000, 1) == max(memory.CARD.values())  # 0: no card
    with pytest.raises(CompanionError, match="CUDA card gives 2000 MiB, one job needs about 4500"):
        memory.fits(2000, 1)
    assert memory.job("evaluate", 0, 80_000, on_card=True) == memory.CARD["evaluate"]


def test_a_large_vocabulary_needs_a_larger_card(tmp_path):
    """Gemma 3 270M: training takes 10.6 GiB of a card, most of them a number for each token and word."""
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 262_144}))
    words = memory.words(tmp_path)
    needed = memory.fits(0, 0, words)
    assert needed == memory.job("finetune", 0, 0, 262_144, on_card=True) > 10_000 > max(memory.CARD.values())
    assert memory.fits(needed, 0, words) == needed
    with pytest.raises(CompanionError, match=f"gives {needed - 1} MiB, one job needs about {needed}:"):
        memory.fits(needed - 1, 0, words)


def test_several_jobs_of_a_model_of_the_papers_size_share_a_card():
    rates = pd.read_csv(estimate.RATES)
    weights = int(rates["parameters"].iloc[-1]) * 2 // 2**20
    kinds = [kind for kind, peak in memory.CARD.items() if peak]
    declared = [memory.job(kind, weights, 0, 32_000, on_card=True) for kind in kinds]
    assert min(declared) > rates["peak_mib"].max(), "what was measured"
    assert 81_559 * 9 // 10 // max(declared) >= 3
    twice = [memory.job(kind, weights, 0, 32_000, on_card=True, dtype="float32") for kind in kinds]
    assert min(twice) > 2 * weights and memory.job("finetune", weights, 0) > 3 * 0.9 * weights


def test_a_hubs_instruction_set_is_said_not_to_be_counted():
    counted = estimate.text(profiles.load("ladder-270m", {}), "ladder-270m")
    assert "helpful-only source  " in counted and "not counted" not in counted
    paper = profiles.load("paper", {})
    assert f"  not counted: training the helpful-only source on {paper.source_data}, a hub's" in estimate.text(
        paper, ""
    )
    assert "not counted" not in estimate.text(profiles.load("cpu", {}), "cpu")
