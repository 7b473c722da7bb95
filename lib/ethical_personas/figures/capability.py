"""Figure of notebook 04 on what the models can still do."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ethical_personas.figures import marks
from ethical_personas.figures.style import MARKERS, PAGE, colour, format_seeds, ordered
from ethical_personas.study import grid

PANELS = {
    "tasks": "short tasks:\nshare right",
    "loss_change": "loss on written helpful answers:\nrise over the source (nats a token)",
    "one_sentence": "harmless requests not declined:\nshare answered in one sentence",
}
COUNTS = {
    "tasks": ("n_tasks", "tasks"),
    "loss_change": ("n_losses", "answers"),
    "one_sentence": ("n_answers", "answers"),
}


def capability(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Tasks solved, loss, one-sentence answers of every model, the source dashed; table of safety.capability.table."""
    parts = []
    for panel in PANELS:
        columns = {panel: "value", f"{panel}_low": "low", f"{panel}_high": "high"}
        parts.append(table[["constitution", "scope", *columns]].rename(columns=columns).assign(panel=panel))
    long = pd.concat(parts, ignore_index=True)
    tuned = long[long["constitution"] != grid.SOURCE]
    names, scopes = ordered(tuned["constitution"]), ordered(tuned["scope"], MARKERS)
    size = (PAGE, 0.42 * len(names) + 1.5)
    fig, axes = marks.intervals(tuned, "value", "constitution", size, col=("panel", PANELS), order=names, share=False)
    for ax, (panel, (count, what)) in zip(axes[0], COUNTS.items(), strict=True):
        for row in long[(long["constitution"] == grid.SOURCE) & (long["panel"] == panel)].dropna().itertuples():
            ax.axvspan(row.low, row.high, color=colour(grid.SOURCE), alpha=0.12, lw=0, zorder=0)
            ax.axvline(row.value, color=colour(grid.SOURCE), lw=0.8, ls="--", zorder=0)
        most = long.loc[long["panel"] == panel, "high"].max()
        least = min(0, long.loc[long["panel"] == panel, "low"].min())
        ends = (least - 0.02 * min(1, 1.1 * most), 1.1 * most if most > 0 else 1.02)
        ax.set_xlim(ends[0], ends[1] if panel == "loss_change" else min(1.02, ends[1]))
        ax.xaxis.set_major_formatter(lambda x, _: marks.number(x, "g"))  # 0 and not 0.00: neighbours would touch
        ax.set_xlabel(f"n = {marks.count_range(table[count].dropna())} {what}")
    dashed = Line2D([], [], color=colour(grid.SOURCE), lw=0.8, ls="--", label="source")
    note = f"bars and bands: {1 - alpha:.0%} intervals; {format_seeds(table['seeds'].max())}"
    marks.key(fig, note, scopes, extra=[dashed])
    return fig
