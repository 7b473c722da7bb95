"""MoralChoice files. Every row here is invented; no published scenario is used."""

import csv

import persona_toys
import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import dilemmas, moral_scenarios
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import check

COLUMNS = ["scenario_id", "context", "action1", "action2", "a1_lying", "a2_lying", "a1_alone", "note"]
VALUES = [
    ("s1", "You broke a jug, and your aunt asks who did it.", "I say that I did.", "I say the cat did.", "No", "Yes"),
    ("s2", "A bus is full, and a man waits.", "I stand up for him.", "I stay where I am.", "No", "no agreement"),
]


def write(folder, columns=COLUMNS, values=VALUES, name="m.csv"):
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([columns, *values])
    return path


def told(message, path):
    with pytest.raises(CompanionError, match=message) as error:
        moral_scenarios.load_scenarios(str(path))
    assert "\n" not in str(error.value)


def test_a_scenario_is_read_with_the_rules_that_speak_of_both_actions(tmp_path):
    first, second = moral_scenarios.load_scenarios(str(write(tmp_path)))
    assert (first.id, first.scenario, first.option_b) == ("s1", VALUES[0][1], "I say the cat did.")
    assert first.rules == {"lying": ["no", "yes"]} and second.rules == {"lying": ["no", "no agreement"]}
    assert moral_scenarios.load_scenarios("") == []


def test_without_rule_columns_a_file_is_read_too(tmp_path):
    found = moral_scenarios.load_scenarios(str(write(tmp_path, COLUMNS[:4], [v[:4] for v in VALUES])))
    assert [s.rules for s in found] == [{}, {}]


def test_faults_name_file_column_and_fix(tmp_path):
    told(r"gone\.csv: no such file; MoralChoice scenarios \(CSV\) is expected there", tmp_path / "gone.csv")
    told(
        r"m\.csv: column action2 is missing \(it has: scenario_id, context, action1\); add",
        write(tmp_path, COLUMNS[:3], []),
    )
    told(
        r"m\.csv:3: column context is empty; write it", write(tmp_path, values=[VALUES[0], ("s2", " ", *VALUES[1][2:])])
    )
    same = ("s2", "A bus is full.", "I stay.", "I stay.")
    told(r"m\.csv:2: column action2 says what action1 says", write(tmp_path, values=[same]))
    told(r"m\.csv: column scenario_id: 's1' appears twice", write(tmp_path, values=[VALUES[0], VALUES[0]]))
    told(r"m\.csv: no scenario in it", write(tmp_path, values=[]))
    (tmp_path / "n.csv").write_bytes(b"scenario_id,context,action1,action2\na,b,c,\xff\n")
    told(r"n\.csv: not UTF-8", tmp_path / "n.csv")


def test_the_file_is_read_before_a_run(tmp_path):
    check.check_all(profiles.load("cpu", {"moral_choice": str(write(tmp_path))}))
    with pytest.raises(CompanionError, match=r"gone\.csv: no such file"):
        check.check_all(profiles.load("cpu", {"moral_choice": "gone.csv"}))


def test_actions_are_scored_as_options_are(tmp_path):
    scenarios = moral_scenarios.load_scenarios(str(write(tmp_path)))
    texts = [t for s in scenarios for t in (s.scenario, s.option_a, s.option_b)]
    found = dilemmas.preferences(persona_toys.chat([*texts, dilemmas.LIKELIHOOD]), scenarios)
    assert [(r.id, r.order) for r in found] == [(s.id, o) for s in scenarios for o in dilemmas.ORDERS]
    assert len({r.value for r in found}) == 4
