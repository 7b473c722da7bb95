"""What several figures share: panels of points with intervals, heat maps, keys, on seaborn."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import seaborn.objects as so
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ethical_personas.figures.style import MARKERS, colour, ordered

GREY = "#999999"  # lines at zero and other references


# Long: every option of the panels is named and explained here, once for all figures; the code itself is half of it.
def intervals(
    table: pd.DataFrame,
    estimate: str,
    along: str,
    size: tuple[float, float],
    col: tuple[str, dict[str, str]] | None = None,
    row: tuple[str, list[str]] | None = None,
    ends: tuple[str, str] = ("low", "high"),
    order: list[str] | None = None,
    vertical: bool = False,
    dodge: str | None = "marker",
    points: float = 4,
    share: bool | str = True,
    layers: tuple[tuple[so.Mark, dict], ...] = (),
    **variables: str,
) -> tuple[Figure, np.ndarray]:
    """Panels of points with their intervals, and a line at zero.

    Args:
        table: one row a point; columns `constitution` (colour), `scope` where there are several (marker), and those
            named here.
        estimate, ends: columns of the point and of the two ends of its interval.
        along: column of the other axis: names, or numbers.
        size: inches.
        col: column whose levels have a panel each, side by side, and the panels' titles by level.
        row: column whose levels have a row of panels each, and the levels.
        order: names of `along`, top to bottom or left to right; by default as in the table.
        vertical: intervals stand upright, and `along` runs from left to right.
        dodge: seaborn variable whose levels are set apart: "marker" (scopes), "color", "group", or none.
        points: size of the points.
        share: which panels share the axis of the estimate: all, none or those of a "row".
        layers: further seaborn marks, drawn on top, each with its variables.
        variables: further seaborn variables, such as fill="a column of true and false". Rows that stand at one place
            need a `group` of their own: seaborn joins the intervals of a group there into one.
    Returns:
        The figure and its panels, rows by columns.
    """
    value, other = ("y", "x") if vertical else ("x", "y")
    numbers = pd.api.types.is_numeric_dtype(table[along])
    scales = {"color": {name: colour(name) for name in table["constitution"].unique()}}
    if "scope" in table:
        variables["marker"] = "scope"
        scales["marker"] = so.Nominal(MARKERS, order=ordered(table["scope"], MARKERS))
    if "fill" in variables:
        scales["fill"] = so.Boolean([True, False])
    if not numbers:
        order = order or list(dict.fromkeys(table[along]))
        scales[other] = so.Nominal(order=order)
    variables |= {other: along, value: estimate, f"{value}min": ends[0], f"{value}max": ends[1]}
    table = table.reset_index(drop=True)  # seaborn looks rows up by index
    plot = so.Plot(table, color="constitution", **variables).scale(**scales).share(**{value: share})
    behind = so.Dot(pointsize=points, color="white", edgewidth=0)  # no bar shows through an open point
    drawn = [(mark, {}) for mark in (so.Range(linewidth=1), behind, so.Dot(pointsize=points, edgewidth=0.9))]
    apart = [so.Dodge(by=[dodge], gap=0.2)] if dodge and not numbers else []
    for mark, own in (*drawn, *layers):
        plot = plot.add(mark, *apart, orient=other, legend=False, **own)
    across, down = col or (None, {None: ""}), row or (None, [None])
    plot = plot.facet(across[0], down[0], order={"col": list(across[1]) if col else None, "row": row and down[1]})
    fig = plt.figure(figsize=size, layout="constrained")
    plot.theme(dict(plt.rcParams)).on(fig).plot()
    axes = np.array(fig.axes).reshape(len(down[1]), len(across[1]))
    _label(axes, across, down, order if along in ("constitution", "option") else [])
    for ax in axes.flat:
        (ax.axhline if vertical else ax.axvline)(0, color=GREY, lw=0.7, zorder=0)
    return fig, axes


def _label(axes: np.ndarray, across: tuple, down: tuple, names: list[str]) -> None:
    """Titles above the columns of panels, the rows' names at the left, constitutions in their colours."""
    for ax in axes.flat:
        ax.set(title="", xlabel="", ylabel="")
    many = {"rotation": 25, "loc": "left"} if len(across[1]) > 5 else {}  # narrow panels: titles would touch
    for ax, (level, title) in zip(axes[0], across[1].items(), strict=True):
        ax.set_title(title, color=colour(level) if across[0] == "constitution" else "black", **many)
    for ax, name in zip(axes[:, 0], down[1], strict=True):
        ax.set_ylabel(name or "")
        colour_labels(ax.get_yticklabels() if names else [], names)


def colour_labels(labels: list, names: list[str]) -> None:
    """Constitutions' names, written in their colours."""
    for label, name in zip(labels, names, strict=True):
        label.set_color(colour(name))


def key(fig: Figure, note: str, scopes=(), names=(), extra=()) -> None:
    """A note under the figure, and the key: markers of scopes, colours of constitutions, whatever else is drawn."""
    look = {"ls": "", "ms": 4}
    marks = [Line2D([], [], marker="o", color=colour(n), label=n, **look) for n in names]
    marks += [Line2D([], [], marker=MARKERS[s], color="0.35", label=s, **look) for s in scopes] + list(extra)
    longest = max(len(mark.get_label()) for mark in marks)
    columns = max(1, int(fig.get_figwidth() / (0.055 * longest + 0.35)))  # inches of a letter, and of a mark
    legend = fig.legend(handles=marks, loc="outside lower center", ncols=columns, handletextpad=0.4, title=note)
    legend.get_title().set_multialignment("center")


def heat(
    ax: Axes,
    values: pd.DataFrame,
    words: pd.DataFrame,
    cmap: str,
    limits: tuple[float, float] = (0, 1),
    framed: pd.DataFrame | None = None,
    frame: str = "black",
    size: float = 7,
) -> None:
    """Heat map with words in its cells: grey with a dash where there is no value, framed where `framed` is true."""
    low, high = limits
    look = {"cmap": cmap, "vmin": low, "vmax": high, "cbar": False, "linewidths": 0.5, "annot_kws": {"size": size}}
    sns.heatmap(values.astype(float), annot=words, fmt="", xticklabels=True, yticklabels=True, ax=ax, **look)
    ax.set_facecolor("0.9")
    for i, j in np.argwhere(values.isna().to_numpy()):
        ax.text(j + 0.5, i + 0.5, "–", ha="center", va="center", size=size)
    for i, j in np.argwhere(framed.to_numpy(bool)) if framed is not None else ():
        ax.add_patch(Rectangle((j + 0.03, i + 0.05), 0.94, 0.9, fill=False, ec=frame, lw=1.3))
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, labelrotation=0)


def beyond(table: pd.DataFrame, low: float, high: float) -> str:
    """What a note says where an interval of `table` goes on beyond the axis from low to high; else nothing."""
    cut = (table["low"] < low).any() or (table["high"] > high).any()
    return "; one that reaches the frame goes on beyond it" if cut else ""


def count_range(counts: pd.Series) -> str:
    """`180`, or `135–180` where the counts differ."""
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low}–{high}"


def number(value: float, form: str = ".2f") -> str:
    """A number as the axes write it: a real minus sign, none before zero; a dash where there is no number."""
    if pd.isna(value):
        return "–"
    text = format(value, form)
    return (text if float(text) else format(0.0, form)).replace("-", "−")


def interval(low: float, high: float) -> str:
    """`[−0.04, 0.05]`."""
    return f"[{number(low)}, {number(high)}]"
