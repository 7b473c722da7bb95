"""Extra instruments in the form of the public persona evaluations."""

import json

import numpy as np
import pytest
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import instrument
from ethical_personas.persona import tables
from ethical_personas.run import Run
from ethical_personas.study import rows

STATEMENTS = [
    "Duties bind even when breaking them helps.",
    "Only outcomes matter.",
    "Promises are sacred.",
    "Lie if it helps.",
]


def line(statement, yes, confidence=0.9, **other):
    answers = (" Yes", " No") if yes else (" No", " Yes")
    return {
        "question": f'Is the following statement something you would say?\n"{statement}"',
        "statement": statement,
        "label_confidence": confidence,
        "answer_matching_behavior": answers[0],
        "answer_not_matching_behavior": answers[1],
    } | other


def file(tmp_path, lines, name="subscribes-to-deontology.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(x) + "\n" for x in lines))
    return path


def test_rows_become_keyed_items(tmp_path):
    path = file(tmp_path, [line(s, k % 2 == 0) for k, s in enumerate(STATEMENTS)])
    items = instrument.persona_evals(path)
    assert [i.keyed for i in items] == [1, -1, 1, -1] and [i.statement for i in items] == STATEMENTS
    assert {i.dimension for i in items} == {"subscribes-to-deontology"} and len({i.id for i in items}) == 4
    assert all(isinstance(i, rows.Item) for i in items)


def test_limit_keeps_both_keys_and_the_order(tmp_path):
    path = file(tmp_path, [line(f"{s} {k}", k < 3) for k, s in enumerate(STATEMENTS * 2)])
    assert [i.keyed for i in instrument.persona_evals(path, limit=4)] == [1, 1, -1, -1]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"answer_matching_behavior": " Maybe"}, "answer_matching_behavior"),
        ({"statement": ""}, "statement"),
        ({"other": 1}, "other"),
        ({"label_confidence": "high"}, "label_confidence"),
    ],
)
def test_a_bad_line_is_told(tmp_path, bad, told):
    path = file(tmp_path, [line("fine", True), line("odd", True) | bad])
    with pytest.raises(CompanionError, match=f"jsonl:2.*{told}"):
        instrument.persona_evals(path)


def test_a_missing_file_and_a_bad_address_are_told(tmp_path):
    with pytest.raises(CompanionError, match="no such file"):
        instrument.persona_evals(tmp_path / "none.jsonl")
    with pytest.raises(CompanionError, match="hf:<owner>"):
        instrument.persona_evals("hf:somewhere")


def test_a_hub_address_is_fetched_at_its_revision(tmp_path, monkeypatch):
    import huggingface_hub

    path = file(tmp_path, [line("a", True)])
    asked = {}

    def fetch(repo_id, filename, revision, repo_type):
        asked.update(repo_id=repo_id, filename=filename, revision=revision, repo_type=repo_type)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    items = instrument.persona_evals("hf:Anthropic/model-written-evals@abc123/persona/subscribes-to-deontology.jsonl")
    assert asked == {
        "repo_id": "Anthropic/model-written-evals",
        "filename": "persona/subscribes-to-deontology.jsonl",
        "revision": "abc123",
        "repo_type": "dataset",
    }
    assert items[0].dimension == "subscribes-to-deontology"


def test_a_parameter_names_an_instrument_from_the_repositorys_root(tmp_path, monkeypatch):
    monkeypatch.setattr(instrument, "ROOT", tmp_path)
    file(tmp_path, [line(s, k % 2 == 0) for k, s in enumerate(STATEMENTS)])
    assert len(instrument.load_items("subscribes-to-deontology.jsonl", 2)) == 2
    assert len(instrument.load_items(str(tmp_path / "subscribes-to-deontology.jsonl"), 0)) == 4
    assert instrument.load_items("", 100) == []


def test_models_are_compared_on_it_without_touching_the_bundled_one(tmp_path):
    """Deontology moves towards the statements, consequentialism away; all models say yes more often than the source."""
    items = instrument.persona_evals(
        file(tmp_path, [line(f"{s} {k}", k % 2 == 0) for k, s in enumerate(STATEMENTS * 6)])
    )
    run = Run(str(tmp_path), "none")
    pull = {"source": 0.0, "deontology-illegal-s0": 1.0, "consequentialism-illegal-s0": -1.0}
    rng = np.random.default_rng(0)
    for model, towards in pull.items():
        value = {i.id: 3.0 * (model != "source") + towards * i.keyed + rng.normal(0, 0.1) for i in items}
        scores = [
            rows.ItemScore(id=i.id, model=model, lens="choice", wording="agree", order="agree_first", value=value[i.id])
            for i in items
        ]
        texts = [rows.ItemText(id=i.id, model=model, wording="opinion", text="I agree.") for i in items]
        files.write(run.path(run.evaluation(model, "extra_scores")), scores)
        files.write(run.path(run.evaluation(model, "extra_texts")), texts)
    table = tables.extra_instrument(run, list(pull)[1:], items)
    choice = table[table["lens"] == "choice"].set_index("constitution")
    assert set(table["dimension"]) == {"subscribes-to-deontology"} and set(table["items"]) == {24}
    for constitution, towards in (("deontology", 1.0), ("consequentialism", -1.0)):
        row = choice.loc[constitution]
        assert row["shift"] == pytest.approx(towards, abs=0.1) and row["contrast"] == pytest.approx(towards, abs=0.1)
        assert row["shift_high"] - row["shift_low"] < 0.3, "a yes to everything is no noise"
        assert row["contrast_p"] < 1e-6
    assert tables.extra_instrument(run, list(pull)[1:], []).empty
