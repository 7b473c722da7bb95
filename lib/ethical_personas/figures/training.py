"""Figures of notebooks 01 and 02: what sets constitutions apart, the loss."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ethical_personas.figures import marks, style


def plot_words(table: pd.DataFrame, constitution: str, revisions: int) -> Figure:
    """The distinctive words as points with 95 % intervals, most distinctive on top."""
    label = table["word"] + "  (" + table["count"].astype(str) + ")"
    table = table.assign(label=label, constitution=constitution)
    fig, ((ax,),) = marks.intervals(table, "log_odds", "label", (style.COLUMN, 2.9), dodge=None)
    ax.set_xlabel("log-odds against the other constitutions\n95 % intervals; count in brackets")
    ax.set_title(f"Words of {constitution}, {revisions} revisions")
    return fig


def plot_loss(log: pd.DataFrame, constitution: str, title: str) -> Figure:
    """Answer loss by step, with its running mean over one eighth of training."""
    fig, ax = plt.subplots(figsize=(style.COLUMN, 2.2), layout="constrained")
    smooth = log["loss"].rolling(max(2, len(log) // 8), min_periods=1).mean()
    for loss, look in ((log["loss"], {"alpha": 0.35, "label": "each step"}), (smooth, {"label": "running mean"})):
        sns.lineplot(x=log["step"], y=loss, color=style.colour(constitution), estimator=None, ax=ax, **look)
    ax.set(title=title, xlabel="step", ylabel="loss on answer tokens (nats)", ylim=(0, None))
    return fig
