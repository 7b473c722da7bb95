"""A change of any input reruns what rests on it, and nothing else; a change of nothing reruns nothing."""

import pytest

pytestmark = pytest.mark.timeout(900)

ANALYSIS = {"emergent_alignment", "persona", "projectability"}
EVALUATION = {"evaluate"} | ANALYSIS
TRAINING = {"finetune"} | EVALUATION
DATA = {"generate", "control_rows", "words"} | TRAINING  # words: figures of what sets constitutions apart
ALL = {"harmless"} | DATA


@pytest.mark.parametrize(
    ("file", "old", "new", "rerun"),
    [
        ("data/prompts/harmful.jsonl", '"prompt": "', '"prompt": "Please: ', ALL),
        ("data/prompts/twin.jsonl", '"prompt": "', '"prompt": "Please: ', ALL),
        ("data/constitutions/deontology.yaml", "title: ", "title: The ", DATA),
        ("data/transcripts/deontology.jsonl", '"critique": "', '"critique": "Well, ', DATA),
        ("data/persona/items.jsonl", '": "', '": "', EVALUATION),
        ("data/persona/dilemmas.jsonl", '": "', '": "', EVALUATION),
        ("runs/trial/adapters/deontology-harassment-s0/adapter_model.safetensors", "lora", "lorb", EVALUATION),
        ("data/persona/signatures/deontology.yaml", "sign: -1", "sign: 0", {"persona", "projectability"}),
        ("data/persona/stance_labels.jsonl", '": "', '": "', {"persona", "projectability"}),
        ("data/judge/labels.jsonl", '": "', '": "', {"emergent_alignment", "projectability"}),
        ("data/claims.yaml", "margin: 0.10", "margin: 0.11", {"projectability"}),
    ],
    ids=lambda value: value.rpartition("/")[2] if isinstance(value, str) and "/" in value else "",
)
def test_a_changed_file_reruns_what_rests_on_it(clone, file, old, new, rerun):
    """Where `old` is `new`, a blank between fields: other bytes that read the same."""
    path = clone.folder / file
    whole = path.read_bytes()
    changed = whole.replace(old.encode(), new.encode(), 1) if old != new else whole.replace(b'": "', b'":  "', 1)
    assert changed != whole
    try:
        path.write_bytes(changed)
        assert clone.planned() == rerun
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("parameter", "value", "rerun"),
    [
        ("chat_template", "alpaca", ALL),
        ("system_prompt", "Be brief.", ALL),
        ("lora_r", "8", TRAINING),
        ("seeds", "[1]", TRAINING),
        ("max_new_tokens", "13", EVALUATION),
        ("repetition_penalty", "1.2", ALL),
        ("judge", "keyword", {"emergent_alignment", "projectability"}),
        ("alpha", "0.1", ANALYSIS),
    ],
)
def test_a_changed_parameter_reruns_what_rests_on_it(clone, parameter, value, rerun):
    assert clone.planned(**{parameter: value}) == rerun


def test_a_change_of_nothing_reruns_nothing(clone):
    assert clone.planned() == set()
