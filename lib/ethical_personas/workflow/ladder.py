"""The graph's job that draws the ladder: what changes with the size of the base model, read from finished runs' tables.

python -m ethical_personas.workflow.ladder figures/ladder-500m cpu ladder-270m ladder-500m
"""

from __future__ import annotations

import json
import sys

import pandas as pd

from ethical_personas.errors import CompanionError
from ethical_personas.figures import ladder, style
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT
from ethical_personas.persona import registration
from ethical_personas.study import grid, inputs
from ethical_personas.workflow import outputs

ENDS = {"": "estimate", "_low": "low", "_high": "high"}
COLUMNS = ["run", "base_model", "parameters", "measure", "constitution", "scope", "estimate", "low", "high"]


def rung(run: str) -> pd.DataFrame:
    """One run's rows, of COLUMNS.

    Measures: S, O, J (gains over the source), voice (share in the own voice among the answers that decline, on topics
    that were not trained on; of a broad model on all), repeats and others (correlation of item profiles over scopes
    within and between constitutions), alignment (mean contrast in the registered direction); the last three on minimal
    pairs (the second registration's lens), in nats a token but for the correlations.

    Raises CompanionError where a table is not there or the size of the base model is not known.
    """
    gone = next((f for f in outputs.rung(run) if not (ROOT / f).is_file()), None)
    if gone:
        raise CompanionError(f"{run}: no {gone}; ./run_all.sh --profile {run} makes it")
    base = json.loads((ROOT / outputs.rung(run)[0]).read_text(encoding="utf-8"))["parameters"]["base_model"]
    size = base_models.parameters(base)
    if not size:
        raise CompanionError(f"{run}: how large {base} is is not known here; add it to {inputs.BASE_MODELS}")
    lens = registration.registration().instrument.lens
    gains, voices, repeats, persona = (style.read_table(f"figures/{run}", name) for name in outputs.RUNG)
    place = voices["scope"].map(lambda scope: "in distribution" if scope == grid.BROAD else "out of distribution")
    voices = voices[voices["where"] == place].rename(columns={"share": "estimate"}).assign(measure="voice")
    repeats = repeats[(repeats["lens"] == lens) & (repeats["kind"] == "scopes") & (repeats["part"] == "items")]
    repeats = repeats[repeats["constitution"] == grid.MEAN].assign(scope="")
    within = repeats.rename(columns={"within": "estimate"}).assign(measure="repeats")
    between = repeats.drop(columns=["low", "high"]).assign(measure="others")
    between = between.rename(columns={f"between{end}": name for end, name in ENDS.items()})
    persona = persona[persona["lens"] == lens].drop(columns=["low", "high"]).assign(measure="alignment")
    persona = persona.rename(columns={f"alignment{end}": name for end, name in ENDS.items()})
    found = pd.concat([gains, voices, within, between, persona], ignore_index=True)
    return found.assign(run=run, base_model=base, parameters=size)[COLUMNS]


def collect(runs: list[str]) -> pd.DataFrame:
    """The rungs of the runs that are there, smallest model first, in the scopes that all of them have.

    A run that is not there is left out, and told.
    """
    found = []
    for run in runs:
        try:
            found.append(rung(run))
        except CompanionError as error:
            print(f"note: ladder: left out: {error}", file=sys.stderr)
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=COLUMNS)
    shared = [scope for scope in table["scope"].unique() if all(scope in set(one["scope"]) for one in found)]
    table = table[table["scope"].isin(shared)]
    return table.sort_values("parameters", kind="stable", ignore_index=True)


def draw(folder: str, runs: list[str]) -> pd.DataFrame:
    """Write the figure and table `ladder` in a folder of figures; returns the table."""
    style.use()
    table = collect(runs)
    figure = ladder.plot(table) if len(table) else style.empty("no finished run to draw")
    return style.save(figure, table, folder, outputs.LADDER)


if __name__ == "__main__":
    draw(sys.argv[1], sys.argv[2:])
