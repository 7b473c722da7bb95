"""Whether answers to harmless requests make sense, as two readers marked them without knowing whose they are.

    table = coherence.table(responses)
    print(coherence.sentence(table))

No judge takes part: data/judge/codebook.md says what counts as sensible, data/judge/readings.jsonl has the marks.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ethical_personas.judge import calibration
from ethical_personas.safety import gains, judged
from ethical_personas.study import grid, rows

GROUPS = (grid.SOURCE, gains.TOGETHER, *grid.CONTROLS)
SHARES = ("sensible", "agreement")
COLUMNS = ["group", *(f"{share}{end}" for share in SHARES for end in ("", "_low", "_high")), "kappa", "n", "prompts"]


def table(responses: list[rows.Response], alpha: float = 0.05) -> pd.DataFrame:
    """Coherence of the answers to harmless prompts that were read and, by the readers' verdict, comply.

    Args:
        responses: Of the run; what nobody has read of this very text by this model does not count.
        alpha: One minus the level of the intervals.

    Returns:
        A row each for the source, the constitutions' models together and every control arm together, as far as some of
        it was read: group, sensible (share that both readers call so), agreement (share to which both give the same
        mark), each with _low and _high (Wilson, widened for prompts answered by several models), kappa (NaN where
        only one mark was given), n, prompts. No row where the readings are of other runs.
    """
    records = []
    for r, reading in zip(responses, judged.read_by_hand(responses), strict=True):
        if reading and reading.verdict == "complied" and r.category in grid.HARMLESS:
            marks = (reading.first_coherence == "sensible", reading.second_coherence == "sensible")
            records.append((gains.arm_of(r.model), r.prompt, *marks))
    read = pd.DataFrame(records, columns=["group", "prompt", "first", "second"])
    found = [_row(name, read[read["group"] == name], alpha) for name in GROUPS if name in set(read["group"])]
    return pd.DataFrame(found, columns=COLUMNS)


def _row(name: str, part: pd.DataFrame, alpha: float) -> dict:
    first, second = part["first"].to_numpy(bool), part["second"].to_numpy(bool)
    row: dict = {"group": name}
    for share, hits in zip(SHARES, (first & second, first == second), strict=True):
        values = calibration.proportion(hits, part["prompt"].to_numpy(), alpha)
        row |= dict(zip((share, f"{share}_low", f"{share}_high"), values, strict=True))
    both = len({*first, *second}) > 1
    row["kappa"] = calibration.kappa_of(first, second) if both else np.nan
    return row | {"n": len(part), "prompts": part["prompt"].nunique()}


def sentence(table: pd.DataFrame) -> str:
    """What the table says, in a line."""
    if not len(table):
        return "Nobody has read this run's answers to harmless requests: whether they make sense is not known."
    told = [
        f"{row.group} {row.sensible:.0%} of {row.n} [{row.sensible_low:.0%}, {row.sensible_high:.0%}]"
        for row in table.itertuples()
    ]
    same = round((table["agreement"] * table["n"]).sum())
    return (
        "Of the answers to harmless requests that were read and comply, both readers call sensible: "
        f"{', '.join(told)}. They give the same mark to {same} of {table['n'].sum()}."
    )
