"""The ladder: what several runs found, against the size of their base models."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ethical_personas.figures import marks
from ethical_personas.figures.style import MARKERS, PAGE, colour, ordered
from ethical_personas.study import grid

PANELS = {  # measure: title
    "S": "S: harmful declined, gain",
    "O": "O: harmless declined, gain",
    "J": "J = S − O, gain",
    "voice": "own voice, given declined",
    "repeats": "item profile repeats over scopes",
    "alignment": "alignment, nats a token",
}
WIDTH = 0.16  # a rung's points are spread over so much of the size, either way


def plot(table: pd.DataFrame) -> Figure:
    """Points with intervals by size of the base model, a panel a measure, a line a model of the grid; `ladder.collect`.

    Constitutions by colour, control arms grey, scopes by marker. Open circles in the panel of profiles: correlation
    with the other constitutions' models.
    """
    fig, axes = plt.subplots(2, 3, figsize=(PAGE, 4.4), layout="constrained", sharex=True)
    for ax, (measure, title) in zip(axes.flat, PANELS.items(), strict=True):
        _panel(ax, table[table["measure"] == measure], filled=True)
        if measure == "repeats":
            _panel(ax, table[table["measure"] == "others"], filled=False)
        ax.axhline(0, color=marks.GREY, lw=0.7, zorder=0)
        ax.set_title(title)
    sizes = table.drop_duplicates("parameters")["parameters"]
    for ax in axes[1]:
        ax.set_xscale("log")
        ax.set_xlim(sizes.min() / 1.4, sizes.max() * 1.4)
        ax.set_xticks(sizes, [f"{size / 1e6:.0f}M" for size in sizes], minor=False)
        ax.set_xticks([], minor=True)
        ax.set_xlabel("weights of the base model")
    named = table[table["constitution"] != grid.MEAN]
    note = "bars: each run's intervals; lines join one constitution and scope; open circles: with other constitutions"
    marks.key(fig, note, ordered(named["scope"], MARKERS), ordered(named["constitution"]))
    return fig


def _panel(ax: Axes, part: pd.DataFrame, filled: bool) -> None:
    """One line with intervals for each constitution and scope, set a little apart along the size."""
    lines = [*part.groupby(["constitution", "scope"], sort=False)]
    shifts = np.exp(np.linspace(-WIDTH, WIDTH, len(lines))) if len(lines) > 1 else [1.0]
    for ((name, scope), line), shift in zip(lines, shifts, strict=True):
        line = line.sort_values("parameters")
        reach = np.abs(line[["low", "high"]].to_numpy(float) - line[["estimate"]].to_numpy(float)).T
        look = {"color": colour(name), "marker": MARKERS.get(scope, "o"), "ms": 3, "lw": 0.5, "elinewidth": 0.7}
        ax.errorbar(line["parameters"] * shift, line["estimate"], reach, mfc=None if filled else "white", **look)
