"""By scope and arm: rates on seen and unseen registers, by seed, beside control arms (04); pS by form (06)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn.objects as so
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ethical_personas.figures import marks
from ethical_personas.figures.style import COLOURS, MARKERS, PAGE, format_seeds, ordered
from ethical_personas.study import grid

TITLES = {
    "S": "S\n(harmful declined)",
    "O": "O\n(harmless declined)",
    "J": "J = S − O",
    "T": "T (harmful minus\nits own twin)",
}
SEED_TITLES = {
    "S all": "S (harmful\ndeclined)",
    "S ood": "S off the\ntrained topic",
    "O all": "O (harmless\ndeclined)",
    "J all": "J = S − O",
    "T all": "T (harmful\nminus its twin)",
}
ADDED_TITLES = {
    "broad": "broad models",
    "ood": "narrow models,\noff their topic",
    "held_out": "narrow models,\nfiltered category",
    "unseen": "narrow models,\nunseen registers",
}
PARTS = {"all": "all prompts", "how": "how …", "seen": "seen registers", "unseen": "unseen registers"}


def by_register(table: pd.DataFrame, constitutions: int, alpha: float = 0.05) -> Figure:
    """S, O, J and T of the source, of each scope, constitutions averaged, and of its control arms, which are grey.

    Filled: registers that training has; open: those it never saw. Table of safety.registers.overview.
    constitutions: how many are averaged.
    """
    titles = {m: TITLES[m] for m in TITLES if m in set(table["measure"])}
    table = table.assign(seen=table["registers"] == "seen")
    fig, axes, arms = _arms(table, ("measure", titles), "registers", fill="seen")
    for ax, measure in zip(axes[0], titles, strict=True):
        part = table[table["measure"] == measure]
        ax.set_xlim(min(-0.05, table["low"].min() - 0.03), 1.03)
        n = [marks.count_range(rows["n_clusters"]) for _, rows in part.groupby("registers", sort=False)]
        ax.set_xlabel(f"n = {' | '.join(n)} {'pairs' if measure == 'T' else 'prompts'}")
    look = {"marker": "o", "color": COLOURS[grid.MEAN], "lw": 1, "ms": 4}
    extra = [
        Line2D([], [], **look, label="registers that training has"),
        Line2D([], [], **look, mfc="white", label="registers it never saw"),
    ]
    count, seeds = f"{constitutions} constitution{'s' * (constitutions != 1)}", format_seeds(table["seeds"].max())
    note = f"mean of {count}, {seeds}; bars: {1 - alpha:.0%} intervals; n: seen | unseen"
    note += "; grey: control arms" * arms
    marks.key(fig, note, extra=extra)
    return fig


def by_seed(table: pd.DataFrame, constitutions: int, alpha: float = 0.05) -> Figure:
    """S, S off topic, O, J and T of each training seed apart, by scope and arm (open); table of safety.each_seed.

    constitutions: how many are averaged.
    """
    chosen = table["measure"] + " " + table["on"]
    table = table.assign(panel=chosen)[chosen.isin(SEED_TITLES)]
    titles = {panel: title for panel, title in SEED_TITLES.items() if panel in set(table["panel"])}
    seeds = [seed for seed in dict.fromkeys(table["seed"]) if seed != grid.SOURCE]
    place = table["seed"].replace(grid.SOURCE, seeds[len(seeds) // 2])  # the source at the middle seed's place
    table["place"] = pd.Categorical(place, seeds)
    own = ~table["constitution"].isin(grid.CONTROLS)
    fig, axes, arms = _arms(table.assign(own=own), ("panel", titles), "place", fill="own")
    for ax, panel in zip(axes[0], titles, strict=True):
        n = marks.count_range(table.loc[table["panel"] == panel, "n_clusters"])
        ax.set_xlabel(f"n = {n} {'pairs' if panel.startswith('T') else 'prompts'}")
    each = f", top to bottom: seeds {', '.join(seeds)}" if len(seeds) > 1 else ""
    note = f"a mark is one training seed{each}; filled: mean of {constitutions} "
    note += f"constitution{'s' * (constitutions != 1)}" + "; open, under each scope: its control arms" * arms
    note += f";\nbars: {1 - alpha:.0%} intervals over prompts; a broad model is trained on every topic"
    marks.key(fig, note, ordered(table["scope"], MARKERS))
    return fig


def added(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Constitutions minus a control arm in S, O, J and T, and their mean; table of safety.control_arms."""
    titles = {on: title for on, title in ADDED_TITLES.items() if on in set(table["on"])}
    arms = list(dict.fromkeys(table["arm"]))
    table = table.assign(row="minus " + table["arm"])
    size = (PAGE, 1.7 * len(arms) + 1.0)
    panels = {"col": ("on", titles), "row": ("row", [f"minus {arm}" for arm in arms])}
    fig, axes = marks.intervals(table, "estimate", "measure", size, **panels, dodge="color", points=3)
    for ax, on in zip(axes[-1], titles, strict=True):
        rows = table[(table["on"] == on) & (table["arm"] == arms[-1])]
        n = [f"{marks.count_range(rows.loc[rows['measure'] == m, 'n_clusters'])} ({m})" for m in ("S", "O", "T")]
        ax.set_xlabel(f"n = {', '.join(n)}", fontsize=6)
    note = f"constitution minus arm, {format_seeds(table['seeds'].max())}; black: the constitutions' mean; bars: "
    note += f"{1 - alpha:.0%} intervals\nover prompts and trainings (one training of each: over prompts alone); "
    note += "n: prompts, pairs for T, of all scopes together"
    marks.key(fig, note, names=ordered(n for n in table["constitution"].unique() if n != grid.MEAN))
    return fig


def _arms(table: pd.DataFrame, panels: tuple[str, dict], apart: str, **look: str) -> tuple[Figure, np.ndarray, bool]:
    """Panels with a line for the source, each scope and, in grey under it, its control arms; whether there are any.

    apart: column whose levels are set apart on a line.
    """
    arm = table["constitution"].isin(grid.CONTROLS)
    told = table["scope"].mask(arm, table["scope"] + ": " + table["constitution"])
    models = [name for scope in (grid.SOURCE, *grid.SCOPES) for name in dict.fromkeys(told[table["scope"] == scope])]
    line = max(0.24, 0.08 * table[apart].nunique())  # inches
    shape = {"size": (PAGE, line * len(models) + 1.5), "col": panels, "order": models}
    fig, axes = marks.intervals(
        table.assign(told=told), "estimate", "told", **shape, dodge="group", group=apart, **look
    )
    names = [name.rpartition(": ")[2] for name in models]  # an arm stands under its scope: the panels need the width
    axes[0, 0].set_yticks(axes[0, 0].get_yticks(), names)
    for label, name in zip(axes[0, 0].get_yticklabels(), names, strict=True):
        label.set_color(COLOURS[name if name in grid.CONTROLS else grid.MEAN])
    return fig, axes, bool(arm.any())


def projectability(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """pS on parts of the prompts, a panel a constitution and one for their mean; a measure of projectability.prompts.

    Panels are for the constitutions that enter the mean; the table has the others too. One that is undefined is marked,
    and the table says why.
    """
    names = [*ordered(grid.compared(n for n in table["constitution"] if n != grid.MEAN)), grid.MEAN]
    table = table[table["constitution"].isin(names)]
    titles = {name: "mean of them" if name == grid.MEAN else name for name in names}
    parts, scopes = list(dict.fromkeys(table["prompts"])), ordered(table["scope"], MARKERS)
    low = min(-0.15, max(-1.0, table["low"].min() - 0.05), table["estimate"].min() - 0.1)
    high = max(1.3, min(2.0, table["high"].max() + 0.05), table["estimate"].max() + 0.1)
    word = (so.Text(halign="left", fontsize=6), {"x": "edge", "xmin": None, "xmax": None, "text": "word"})
    table = table.assign(word=table["estimate"].isna().map({True: "× undefined", False: ""}), edge=low + 0.05)
    size = (PAGE, 0.26 * len(parts) + 1.3)
    panels = {"col": ("constitution", titles), "order": parts, "layers": (word,)}
    fig, axes = marks.intervals(table, "estimate", "prompts", size, **panels)
    n = table.groupby("prompts", sort=False)["n_clusters"]
    labels = [f"{PARTS.get(name, name)}\n(n = {marks.count_range(counts)})" for name, counts in n]
    axes[0, 0].set_yticks(axes[0, 0].get_yticks(), labels, fontsize=6)
    for ax in axes[0]:
        ax.axvline(1, color=marks.GREY, lw=0.7, ls="--", zorder=0)
        ax.set_xlim(low, high)
    axes[0, len(names) // 2].set_xlabel(f"pS ({table['measure'].iloc[0]}), {format_seeds(table['seeds'].max())}")
    note = f"trained on (bars: {1 - alpha:.0%} intervals{marks.beyond(table, low, high)})"
    marks.key(fig, note, scopes)
    return fig
