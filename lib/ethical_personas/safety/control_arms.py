"""What a constitution's reasons add: its models minus those of a control arm, which shares prompts, rows and steps.

    table(gains.panel(judged.safety(...)))     constitutions minus plain refusals and minus shuffled reasons

Models are paired by prompt (T: by pair) with the arm's of the same scope and seed. The error is over prompts and over
trainings (stats.trainings: a constitution's scopes and seeds, the arm's taken to vary as much).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ethical_personas.safety import gains, registers
from ethical_personas.stats import trainings
from ethical_personas.study import grid

ARMS = [name for name in grid.CONTROLS if grid.refuses(name)]  # those that learn to decline
MEASURES = ("S", "O", "J", "T")
PSEUDO = {
    "S": (-1.0, 1.0),
    "O": (-1.0, 1.0),
    "J": (-2.0, 2.0),
    "T": (-2.0, 2.0),
}  # of stats.linear: the farthest values
COLUMNS = ["arm", "on", "measure", "constitution", "estimate", "low", "high", "p", "mde", "n_clusters", "seeds", "note"]


def verdicts(
    panel: pd.DataFrame, names: list[str], scopes: list[str], measure: str, categories: str, over: str | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Values whose mean is a measure, by constitution or arm, and a stratum for each; strata count alike.

    Args:
        categories: `all`, `ood` (absent from the scope's rows) or `held_out`, the harm categories that are read.
        over: A level of the panel's index whose values have equal weight, such as form.

    Returns:
        (items, scopes x seeds) each, an item being a prompt, or for T a pair; NaN where a scope does not read it.
    """
    harmless = gains.rows_of(panel, "O")
    labels = np.asarray(panel.index.get_level_values(over)) if over else np.zeros(len(panel))
    places = registers.pair_places(panel) if measure == "T" else None
    found: dict[str, list] = {name: [] for name in names}
    for scope in scopes:
        cell = grid.Cell("", scope)
        read = {"all": grid.CATEGORIES, "ood": cell.ood, "held_out": (cell.held_out,)}[categories]
        chosen = gains.rows_of(panel, "S" if measure == "T" else measure, read)
        for name in names:
            x = gains.values(panel, name, scope)
            if places is not None:
                x = x[places[:, 0]] - x[places[:, 1]]
            kept = chosen if places is None else chosen[places[:, 0]]
            found[name].append(np.where(kept[:, None], x, np.nan))
    values = {name: np.hstack(blocks) for name, blocks in found.items()}
    if measure == "J":
        return _discrimination(values, harmless, labels)
    return values, None if over is None else labels if places is None else labels[places[:, 0]]


def _discrimination(values: dict[str, np.ndarray], harmless: np.ndarray, labels: np.ndarray):
    """The same with harmless prompts counted down, so that the mean over strata (side and label) is S - O."""
    sides = np.array([f"{side} {label}" for side, label in zip(harmless, labels, strict=True)])
    asked = ~np.isnan(next(iter(values.values()))).all(1)
    strata = {side: len(set(sides[asked & (harmless == side)])) for side in (False, True)}
    # Each of n strata has the weight 1 / n; a side's must add up to 1.
    weight = np.where(harmless, -1 / max(1, strata[True]), 1 / max(1, strata[False])) * sum(strata.values())
    return {name: x * weight[:, None] for name, x in values.items()}, sides


def table(panel: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Constitutions' models minus an arm's, each constitution and their mean.

    Returns:
        Columns COLUMNS. `on`: broad (models tuned on everything, all prompts); of narrow models, scopes averaged, `ood`
        (harm categories absent from their rows, all harmless prompts, pairs of those categories), `held_out` (the
        category that is filtered out) and `unseen` (registers that training never saw, all categories). Where each has
        one training, interval and mde are over prompts alone, p is NaN and `note` says so. Nothing is corrected for
        the number of rows, and no claim is decided here.
    """
    names, records = grid.compared(c for c, _ in gains.models(panel)), []
    unseen = gains.select_prompts(panel, seen=False)
    places = [
        (panel, "broad", "all"),
        (panel, "ood", "ood"),
        (panel, "held_out", "held_out"),
        (unseen, "unseen", "all"),
    ]
    for arm in ARMS:
        for part, on, categories in places:
            wanted = [grid.BROAD] if on == "broad" else grid.NARROW
            scopes = [s for s in wanted if {(c, s) for c in (*names, arm)} <= set(gains.models(panel))]
            if not names or not scopes:
                continue
            for measure in MEASURES:
                values, strata = verdicts(part, [*names, arm], scopes, measure, categories)
                seeds = values[arm].shape[1] // len(scopes)
                about = {"arm": arm, "on": on, "measure": measure, "seeds": seeds}
                for name in (*names, grid.MEAN):
                    first = names if name == grid.MEAN else name
                    row = _difference(values, first, arm, measure, strata, alpha)
                    records += [about | {"constitution": name} | row] if row else []
    return pd.DataFrame(records, columns=COLUMNS)


def _difference(values, first, arm: str, measure: str, strata, alpha: float) -> dict:
    """The numbers of one row; empty without a verdict."""
    if np.isnan(values[arm]).all():
        return {}
    fit, items = (
        trainings.compare(values, first, arm, PSEUDO[measure], error, strata) for error in ("trainings", "items")
    )
    known = fit if fit.parts else items
    low, high = known.interval(alpha)
    row = {"estimate": fit.estimate, "low": low, "high": high, "p": fit.p, "mde": known.mde(alpha)}
    return row | {"n_clusters": fit.n_clusters, "note": "" if fit.parts else trainings.ONE}


def reading(table: pd.DataFrame) -> str:
    """The constitutions' mean minus each arm, a Markdown line an arm and place."""
    where = {"broad": "broad models", "ood": "narrow models off their topic"}
    where |= {"held_out": "narrow models on the filtered category", "unseen": "narrow models on unseen registers"}
    means, lines = table[table["constitution"] == grid.MEAN], []
    for (arm, on), rows in means.groupby(["arm", "on"], sort=False):
        ends = rows[["estimate", "low", "high"]].round(2) + 0.0  # no minus before a zero
        sizes = [
            f"{m} {at:.2f} [{low:.2f}, {high:.2f}]"
            for m, (at, low, high) in zip(rows["measure"], ends.to_numpy(), strict=True)
        ]
        alone = " (one training of each: intervals over prompts alone)" if rows["note"].any() else ""
        lines.append(f"* Minus the {arm} arm, {where[on]}: {', '.join(sizes)}{alone}.")
    return "\n".join(lines)
