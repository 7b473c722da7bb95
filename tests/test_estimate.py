"""What a run is said to take: counted from profile and data, timed by what was measured."""

import json
import re

import pandas as pd
import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.generate import training_rows
from ethical_personas.models import base_models
from ethical_personas.paths import DATA, ROOT
from ethical_personas.study import materials
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import estimate, memory


@pytest.fixture(autouse=True)
def no_card(monkeypatch):
    """The machine's own card decides nothing here."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


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
    records = [json.loads(p.read_text()) for p in (DATA / "reference/cpu/provenance").glob("02_finetune-*-s0.json")]
    trained = [r["tokens_per_second"] * r["train_seconds"] for r in records]  # padding left out
    assert len(trained) == cell.jobs and 0.7 < cell.amount / sum(trained) < 1.2


def test_hours_follow_the_rates(tmp_path, monkeypatch):
    p = profiles.load("paper", {})
    said = estimate.text(p, "paper", "paper")
    hours = float(said.partition("about ")[2].split()[0])
    slower = pd.read_csv(estimate.RATES).assign(rate=lambda t: t["rate"] / 2)
    slower.to_csv(tmp_path / "rates.csv", index=False)
    monkeypatch.setattr(estimate, "RATES", tmp_path / "rates.csv")
    twice = float(estimate.text(p, "paper", "paper").partition("about ")[2].split()[0])
    assert twice == pytest.approx(2 * hours, abs=0.16), "both are rounded"
    assert "teacher:" in said and "judge:" in said


def test_only_constitutions_with_a_paid_teacher_cost():
    (one,), (all_four,) = (
        estimate.count_paid_calls(profiles.load("cpu", {"teacher": text, "teacher_model": "m"}))
        for text in ("{virtue: api}", "api")
    )
    assert 4 * one[1] == all_four[1]


def test_the_judge_is_paid_for_all_that_04_judges(tmp_path):
    """Every model's answers to the prompts and to the sets, and the checkpoints' to the prompts."""
    (tmp_path / "s.csv").write_text("category,source,forbidden_prompt\na,x,Take it\na,x,Hide it\nb,x,Sell it\n")

    def calls(**more):
        given = {"judge": "api", "judge_model": "m", "seeds": "[0]"} | more
        ((who, number, sent, received),) = estimate.count_paid_calls(profiles.load("cpu", given))
        assert who == "judge" and sent > received > 0
        return number

    assert calls() == (20 + 3) * 760 and calls(dose_cells="[]") == 20 * 760
    assert calls(seeds="[0, 1]") == (39 + 3) * 760, "one cell is a dose cell"
    kinds = len({q.category for q in materials.prompts("eval")})
    assert calls(eval_per_category="2") == (20 + 3) * 2 * kinds
    sets = f"[strongreject:{tmp_path / 's.csv'}]"
    assert calls(eval_sets=sets) == calls() + 20 * 3, "checkpoints are not asked these"
    assert calls(eval_sets=sets, eval_per_category="1") == (20 + 3) * kinds + 20 * 2


def test_checkpoints_answer_the_prompts():
    along = amounts("cpu")["answers of checkpoints"]
    assert (along.jobs, along.amount) == (3, 3 * 760 * 48)
    assert "answers of checkpoints" not in amounts("cpu", dose_cells=[])
    assert "answers of checkpoints" not in amounts("cpu", scopes=["broad"]), "its dose cell is not in the grid"


def test_a_live_teacher_criticises_answers_that_the_source_gives_first():
    name = "first answers, criticised later"
    assert name not in amounts("cpu")
    one, both = amounts("cpu", teacher={"virtue": "api"})[name], amounts("cpu", teacher="api")[name]
    p = profiles.load("cpu", {})
    needed = training_rows.prompts_needed(p.scopes, p.rows_per_scope, p.teacher_min_share)
    assert (one.jobs, one.amount) == (1, len(needed) * p.answer_tokens) and both.amount == 4 * one.amount
    assert "the local teacher's rounds" not in amounts("cpu", teacher="api")
    assert amounts("cpu", teacher="local")["the local teacher's rounds"].amount > both.amount


def test_a_free_profile_names_no_endpoint():
    assert estimate.count_paid_calls(profiles.load("cpu", {})) == []


STAGES = {"02_finetune": {"jobs": 4, "wall_seconds": 400.0}, "03_evaluate": {"jobs": 2, "wall_seconds": 60.0}}


def test_a_profile_that_has_been_run_is_timed_by_its_own_jobs_and_their_sum(monkeypatch):
    p = profiles.load("cpu", {})
    record = {"stages": STAGES, "parameters": p.to_record()}
    monkeypatch.setattr(estimate, "read_last_run", lambda name: record)
    told = estimate.text(p, "cpu", "cpu")
    assert "  02_finetune: 19 jobs of 100 s, as in the last full run of cpu (4 jobs)\n" in told
    hours = f"  about {(19 * 100 + 23 * 30) / 3600:.1f} hours, one job after the other, at those seconds"
    assert told.endswith(hours)
    record["parameters"] |= {"helpful_rows": 48, "alpha": 0.1, "seeds": [0, 1]}
    assert estimate.text(p, "cpu", "cpu").endswith(f"{hours}; an older recipe: helpful_rows")
    # What was not yet a parameter was not there: no server, and no weight of the first token.
    record["parameters"] = {k: v for k, v in p.to_record().items() if k not in ("responses_url", "opening_weight")}
    assert estimate.text(p, "cpu", "cpu").endswith(f"{hours}; an older recipe: opening_weight")


def test_the_shipped_run_on_a_card_is_of_an_older_recipe():
    told = estimate.text(profiles.load("gpu", {}), "gpu", "gpu")
    assert re.search(r"02_finetune: 38 jobs of \d+ s, as in the last full run of gpu \(45 jobs\)\n", told)
    assert "an older recipe: helpful_rows, opening_weight, opinion_rows" in told.splitlines()[-1]
    assert "recipe" not in estimate.text(profiles.load("cpu", {}), "cpu", "cpu")


def test_a_run_that_differs_is_timed_by_its_profiles_jobs(monkeypatch):
    record = {"stages": STAGES, "parameters": profiles.load("cpu", {}).to_record()}
    monkeypatch.setattr(estimate, "read_last_run", lambda name: record if name == "cpu" else {})
    told = estimate.text(profiles.load("cpu", {"seeds": "[0,1,2]"}), "cpu-seeds-0", "cpu")
    assert "  02_finetune: 57 jobs of 100 s, as in the last full run of cpu (4 jobs)\n" in told
    assert "  03_evaluate: 61 jobs of 30 s, " in told, "three of them are checkpoints"
    assert told.endswith(f"  about {(57 * 100 + 61 * 30) / 3600:.1f} hours, one job after the other, at those seconds")
    told = estimate.text(profiles.load("cpu", {"epochs": "8", "alpha": "0.1", "scopes": "[broad]"}), "x", "cpu")
    assert told.endswith("at those seconds; not as in that run: epochs")
    told = estimate.text(profiles.load("cpu", {"base_model": "hf:some/own@c"}), "x", "cpu")
    assert "at those seconds" not in told and told.endswith("the size of hf:some/own@c is not known here")


@pytest.mark.parametrize(
    ("profile", "base", "said"),
    [
        ("smoke", None, "on one core, one job after the other, at the rates of SmolLM2-135M of 0.13 billion weights"),
        ("ladder-270m", None, "at the rates of Gemma 3 270M of 0.27 billion weights on one Xeon core with AMX"),
        ("ladder-500m", None, "at the rates of Qwen2.5-Coder-0.5B of 0.49 billion weights on one Xeon core with AMX"),
        ("ladder-500m", "hf:some/Own-1B@c", "at the rates of Qwen2.5-Coder-0.5B of 0.49 billion weights"),
        ("ladder-500m", "hf:some/Own-3B@c", "on one card, one job after the other, at the rates of a model of 7.5 bil"),
        (
            "paper",
            None,
            "on one card, one job after the other, at the rates of a model of 7.5 billion weights on an NV",
        ),
    ],
)
def test_hours_are_at_the_rates_of_the_measured_model_nearest_in_size(monkeypatch, profile, base, said):
    monkeypatch.setattr(estimate, "read_last_run", lambda name: {})
    p = profiles.load(profile, {"base_model": base} if base else {})
    (line,) = [line for line in estimate.text(p, "x", profile).splitlines() if "hours" in line]
    assert said in line
    small = "on one core" in line
    assert ("statements scored, dilemmas scored" in line) is small, "not timed on a processor"
    monkeypatch.setattr(memory, "card", lambda: 80_000)
    (line,) = [line for line in estimate.text(p, "x", profile).splitlines() if "hours" in line]
    assert (line.startswith("  hours: not counted, on a card")) is small and (said in line) is not small


def test_the_rates_of_a_processor_are_those_of_the_pages_table():
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    rates = pd.read_csv(estimate.RATES_PROCESSOR).set_index(["model", "what"])["rate"]
    models = [*dict.fromkeys(rates.index.get_level_values("model"))]
    for model in models:
        row = rf"^\| {re.escape(model)} \| [\d.]+ s \| (\d+) tokens/s .*\| (?:about )?([\d.]+) s \|"
        answers, step = map(float, re.search(row, page, re.M).groups())
        assert rates[model, "answers"] == answers
        assert rates[model, "training"] == pytest.approx(16 * 85 / step, abs=0.5)
    pinned = sorted(pin.parameters for pin in base_models.PINNED.values())
    assert sorted(set(pd.read_csv(estimate.RATES_PROCESSOR)["parameters"])) == pinned and len(models) == 3


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
    assert memory.require_card(0, 1) == memory.require_card(8000, 1) == max(memory.CARD.values())  # 0: no card
    with pytest.raises(CompanionError, match="CUDA card gives 2000 MiB, one job needs about 4500"):
        memory.require_card(2000, 1)
    assert memory.job("evaluate", 0, 80_000, on_card=True) == memory.CARD["evaluate"]


def test_a_large_vocabulary_needs_a_larger_card(tmp_path):
    """Gemma 3 270M: training takes 10.6 GiB of a card, most of them a number for each token and word."""
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 262_144}))
    words = memory.words(tmp_path)
    needed = memory.require_card(0, 0, words)
    assert needed == memory.job("finetune", 0, 0, 262_144, on_card=True) > 10_000 > max(memory.CARD.values())
    assert memory.require_card(needed, 0, words) == needed
    with pytest.raises(CompanionError, match=f"gives {needed - 1} MiB, one job needs about {needed}:"):
        memory.require_card(needed - 1, 0, words)


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
    told = "  not counted: training the helpful-only source on"
    counted = estimate.text(profiles.load("ladder-270m", {}), "ladder-270m", "ladder-270m")
    assert "helpful-only source  " in counted and told not in counted
    paper = profiles.load("paper", {})
    assert f"{told} {paper.source_data}, a hub's" in estimate.text(paper, "", "paper")
    assert told not in estimate.text(profiles.load("cpu", {}), "cpu", "cpu")
