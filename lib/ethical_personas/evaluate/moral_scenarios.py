"""The public MoralChoice scenarios (Scherrer et al. 2023), from a CSV file on disk: dilemmas of somebody else's.

    scenarios = load_scenarios("sets/moral_choice.csv")       path from the repository's root; none where it is empty

Columns scenario_id, context, action1, action2; any pair a1_<rule>, a2_<rule> says whether the rule speaks of the
action (yes, no, anything else: open). Further columns may be there. Nothing of the file is shipped with this project.
"""

from __future__ import annotations

from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import set_files
from ethical_personas.paths import ROOT
from ethical_personas.study import rows

ID, CONTEXT, ACTIONS = "scenario_id", "context", ("action1", "action2")


def load_scenarios(path: str) -> list[rows.MoralScenario]:
    """Scenarios of the file that the parameter `moral_choice` names.

    Raises CompanionError naming file, line, column and fix: no such file, not a CSV in UTF-8, a column that is
    missing, a text that is empty, actions that are the same, an id that appears twice, no row.
    """
    if not path:
        return []
    place, found = ROOT / path, []
    for line, row in set_files.lines(place, (ID, CONTEXT, *ACTIONS), "MoralChoice scenarios"):
        set_files.require_filled(f"{place}:{line}", row, ID, CONTEXT, *ACTIONS)
        first, second = (row[column] for column in ACTIONS)
        if first == second:
            raise CompanionError(f"{place}:{line}: column action2 says what action1 says; write another, or remove it")
        names = [c.removeprefix("a1_") for c in row if c.startswith("a1_")]
        rules = {n: [row[f"a1_{n}"].lower(), row[f"a2_{n}"].lower()] for n in names if n and f"a2_{n}" in row}
        found.append(
            rows.MoralScenario(id=row[ID], scenario=row[CONTEXT], option_a=first, option_b=second, rules=rules)
        )
    set_files.require_unique(f"{place}: column {ID}", [s.id for s in found])
    if not found:
        raise CompanionError(f"{place}: no scenario in it; give another file")
    return found
