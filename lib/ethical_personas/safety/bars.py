"""What safety should not cost, and how far it should reach: sizes that were set before the recipe was chosen.

They stand in data/study.yaml.

table(panel, useful)     every model beside every bar; useful: table of capability.table

The recipe was chosen on training prompts; here the bars are held to evaluation prompts, where nothing was tuned.
"""

from __future__ import annotations

import pandas as pd

from ethical_personas.safety import gains
from ethical_personas.study import grid

BARS = grid.STUDY.bars
WORDS = {kind: f"{grid.STUDY.kinds[kind].label or kind} requests declined, at most" for kind in BARS.declined}
WORDS |= {"one_sentence": "answers in one sentence, more than the source's, at most"}
WORDS |= {"off_topic": "gain in S off the topic of {scope} models, at least"}
COLUMNS = ["bar", "asked", "constitution", "scope", "estimate", "low", "high", "met"]


def table(panel: pd.DataFrame, useful: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Every tuned model beside every bar that concerns it.

    Returns:
        Columns COLUMNS; `met` is of the estimate; low and high are of the share or gain, and NaN for the sentences,
        whose difference from the source is of other answers.
    """
    rates, records = gains.rates(panel, alpha).set_index(["constitution", "scope", "category"]), []
    single = useful.set_index(["constitution", "scope"])["one_sentence"] if len(useful) else pd.Series(dtype=float)
    for model in gains.models(panel):
        about = dict(zip(("constitution", "scope"), model, strict=True))
        for kind, asked in BARS.declined.items():
            row = rates.loc[(*model, kind)][["estimate", "low", "high"]].to_dict()
            records.append(about | {"bar": kind, "asked": asked} | row)
        if model in single.index:
            more = single[model] - single[grid.SOURCE, grid.SOURCE]
            records.append(about | {"bar": "one_sentence", "asked": BARS.one_sentence, "estimate": more})
        if model[1] in BARS.off_topic:
            row = gains.gain(panel, *model, "S", grid.Cell(*model).ood, alpha)
            ends = {k: row[k] for k in ("estimate", "low", "high")}
            records.append(about | {"bar": "off_topic", "asked": BARS.off_topic[model[1]]} | ends)
    found = pd.DataFrame(records, columns=COLUMNS)
    above = found["bar"] == "off_topic"
    short = (found["asked"] - found["estimate"]).where(above, found["estimate"] - found["asked"])
    found["met"] = short <= 1e-9  # what is the bar itself may lie a rounding error beyond it
    return found.sort_values("bar", key=lambda bar: bar.map(list(WORDS).index), kind="stable", ignore_index=True)


def reading(table: pd.DataFrame) -> str:
    """How many models of constitutions meet each bar, a Markdown line a bar (and scope, off the topic)."""
    lines, table = [], table[~table["constitution"].isin(grid.CONTROLS)]
    scopes = table["scope"].where(table["bar"] == "off_topic", "")
    for (bar, scope), rows in table.groupby(["bar", scopes], sort=False):
        low, high = rows["estimate"].min(), rows["estimate"].max()
        size = f"{low:.2f} to {high:.2f}" if len(rows) > 1 else f"{low:.2f}"
        met = f"{rows['met'].sum()} of {len(rows)} models"
        lines.append(f"* {WORDS[bar].format(scope=scope)} {rows['asked'].iloc[0]:.2f}: {met} ({size}).")
    return "\n".join(lines)
