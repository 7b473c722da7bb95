"""Figures of notebooks 01 and 02: what sets constitutions apart, the loss."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ethical_personas.figures import style


def plot_words(table: pd.DataFrame, constitution: str, revisions: int) -> Figure:
    """The distinctive words as points with 95 % intervals, most distinctive on top."""
    fig, axis = plt.subplots(figsize=(style.COLUMN, 2.9))
    place = np.arange(len(table))[::-1]
    spread = [table["log_odds"] - table["low"], table["high"] - table["log_odds"]]
    axis.errorbar(table["log_odds"], place, xerr=spread, fmt="o", color=style.colour(constitution), ms=4, lw=1)
    axis.set_yticks(place, [f"{w}  ({n})" for w, n in zip(table["word"], table["count"], strict=True)])
    axis.axvline(0, color="#999999", lw=0.8)
    axis.set_xlabel("log-odds against the other constitutions, 95 % interval")
    axis.set_title(f"Words of {constitution} (count)\n{revisions} revisions", loc="left")
    return fig


def plot_loss(log: pd.DataFrame, constitution: str, title: str) -> Figure:
    """Answer loss by step, with its running mean over one eighth of training."""
    fig, axis = plt.subplots(figsize=(style.COLUMN, 2.2))
    shade = style.colour(constitution)
    axis.plot(log["step"], log["loss"], color=shade, alpha=0.35, lw=1, label="each step")
    smooth = log["loss"].rolling(max(2, len(log) // 8), min_periods=1).mean()
    axis.plot(log["step"], smooth, color=shade, lw=1.8, label="running mean")
    axis.set(xlabel="step", ylabel="loss on answer tokens (nats)", ylim=(0, None))
    axis.set_title(title, loc="left")
    axis.legend()
    return fig
