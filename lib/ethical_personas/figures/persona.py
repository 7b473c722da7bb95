"""Figures of the persona diagnostic (notebooks 05 and 06); each takes a table and returns a Figure."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn.objects as so
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ethical_personas.figures import marks
from ethical_personas.figures.style import DIMENSIONS, LENS_TITLES, MARKERS, PAGE, colour, format_seeds, ordered
from ethical_personas.study import grid

PLACES = {
    "in distribution": "in\ndistr.",
    "out of distribution": "out of\ndistr.",
    "persona items": "belief\nitems",
    "harmless": "harm-\nless",
}


REPEATED = {
    "disjoint": "scopes that share\nno harmful row",
    "scopes": "any two scopes",
    "seeds": "two seeds of a scope",
}


def profile(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Small multiples, lens by constitution: contrast by dimension with intervals, the registered sign shaded."""
    names, lenses = ordered(table["constitution"]), ordered(table["lens"], LENS_TITLES)
    dimensions = ordered(table["dimension"], DIMENSIONS)
    fig, axes = marks.intervals(
        table,
        "scaled",
        "dimension",
        (PAGE, 2.25 * len(lenses) + 0.7),
        col=("constitution", {name: name for name in names}),
        row=("lens", lenses),
        ends=("scaled_low", "scaled_high"),
        order=dimensions,
        points=2.6,
        share="row",
    )
    limits = {lens: _limits(part) for lens, part in table.groupby("lens")}
    for ax, (lens, constitution) in zip(axes.flat, itertools.product(lenses, names), strict=True):
        part = table[(table["lens"] == lens) & (table["constitution"] == constitution)]
        edges = limits[lens]
        for row in part.drop_duplicates("dimension").query("expected in (-1, 1)").itertuples():
            y, edge = dimensions.index(row.dimension), edges[int(row.expected > 0)]
            ax.barh(y, edge, height=0.9, color=colour(constitution), alpha=0.13, lw=0, zorder=0)
        ax.set_xlim(edges)
        ax.tick_params(labelsize=6.5)
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}".replace("-", "−"))  # 0 and not 0.0, which would touch 0.5
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(dimensions)), [DIMENSIONS.get(d, d) for d in dimensions])
    fig.align_ylabels()
    wordings = table.groupby("lens")["wordings"].max()
    beyond = "; a control arm's may go on beyond the frame" if set(names) & set(grid.CONTROLS) else ""
    note = (
        "contrast to the mean of the constitutions, in standard deviations of the lens over items\n"
        f"(n = {marks.count_range(table['n_items'])} items a dimension; wordings: "
        f"{', '.join(f'{lens} {wordings[lens]}' for lens in lenses)}; {format_seeds(table['seeds'].max())};\n"
        f"{1 - alpha:.0%} intervals over items and wordings{beyond})"
    )
    shade = Patch(color="0.5", alpha=0.25, lw=0, label="registered direction")
    marks.key(fig, note, ordered(table["scope"], MARKERS), extra=[shade])
    return fig


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """Ends of an axis that holds all points, and all intervals but those of control arms, which are wide."""
    tuned = table[~table["constitution"].isin(grid.CONTROLS)]
    ends = pd.concat([table["scaled"], tuned["scaled_low"], tuned["scaled_high"]]).dropna()
    low, high = min(0.0, ends.min()), max(0.0, ends.max())
    room = 0.05 * (high - low) or 1.0  # nothing moved
    return low - room, high + room


def confusion(match: pd.DataFrame, tests: pd.DataFrame, voices: pd.DataFrame) -> Figure:
    """One matrix a lens: rows the constitution trained on, columns the one identified.

    Args:
        match: signature_match's table.
        tests: rows of both identifications, by lens.
        voices: voice.voice_shares' table.
    """
    trained = ordered(match["constitution"])
    named = ordered([*match["best"].dropna(), *trained, *voices.columns])
    shares = voices.groupby(level="constitution").mean().reindex(index=trained, columns=named)
    panels = {}
    for lens in ordered(match["lens"], LENS_TITLES):
        part = match[match["lens"] == lens]
        counts = pd.crosstab(part["constitution"], part["best"]).reindex(index=trained, columns=named, fill_value=0)
        panels[lens] = (counts.div(counts.sum(axis=1).clip(lower=1), axis=0), counts.astype(str))
    panels["voice"] = (shares, shares.map(marks.number))
    rows = 1 if len(named) <= 5 else len(panels)  # many constitutions: the cells need the page's width
    size, shape = (PAGE, rows * (0.34 * len(trained) + 1.6)), (rows, len(panels) // rows)
    fig, axes = plt.subplots(*shape, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, (lens, (values, words)) in zip(axes.flat, panels.items(), strict=True):
        marks.heat(ax, values, words, "Blues", size=6 if lens == "voice" else 7)
        title = "voice (shares)" if lens == "voice" else LENS_TITLES[lens].partition("\n")[0]
        for test in tests[tests["lens"] == lens].itertuples():
            p = f"= {test.p_identified:.3f}" if test.p_identified >= 0.001 else "< 0.001"
            title += f"\n{test.identified:.0f} of {test.models:.0f}\np {p}"
        ax.set_title(title)
        ax.set_xticks(ax.get_xticks(), named, rotation=40, ha="right", rotation_mode="anchor")
        marks.colour_labels(ax.get_xticklabels(), named)
    for ax in axes[:, 0]:
        marks.colour_labels(ax.get_yticklabels(), trained)
        ax.set_ylabel("trained on")
    fig.supxlabel(
        "best-matching signature (number of models, one for each scope) or voice (mean share of answers);\n"
        "titles: models whose own constitution comes first, and the test of their number"
    )
    return fig


def content(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Match and alignment, minus the shuffled arm's, a panel a lens; table of content.compare_with_control."""
    lenses = {lens: LENS_TITLES[lens].partition("\n")[0] for lens in ordered(table["lens"], LENS_TITLES)}
    names, measures = ordered(table["constitution"]), ("match", "alignment")
    columns = [["constitution", "scope", "lens", m, f"{m}_low", f"{m}_high", "n_items", "seeds"] for m in measures]
    parts = [table[c].set_axis([*c[:3], "estimate", "low", "high", *c[6:]], axis=1) for c in columns]
    both = pd.concat([part.assign(measure=m) for m, part in zip(measures, parts, strict=True)], ignore_index=True)
    size = (PAGE, 0.8 * len(names) + 1.3)
    panels = {"col": ("lens", lenses), "row": ("measure", list(measures)), "order": names}
    fig, axes = marks.intervals(both, "estimate", "constitution", size, **panels, share="row")
    low, high = axes[0, 0].get_xlim()
    axes[0, 0].set_xlim(max(low, -2.05), min(high, 2.05))  # a difference of two cosines lies within 2
    fig.align_ylabels()
    note = (
        "minus the shuffled arm's: match (cosine with the own signature; an interval that reaches the frame rules "
        "nothing out)\nand alignment (shift of the items in the registered direction, in the lens's units); n = "
        f"{marks.count_range(table['n_items'])} items, {format_seeds(table['seeds'].max())}; {1 - alpha:.0%} intervals"
    )
    marks.key(fig, note, ordered(table["scope"], MARKERS))
    return fig


def replication(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Correlations of item profiles within (filled) and between constitutions (open), kind by lens.

    Args:
        table: Of persona.replication.replication.
        alpha: One minus the level of the intervals.
    """
    table = table[table["part"] == "items"]
    lenses, names = ordered(table["lens"], LENS_TITLES), [*ordered(set(table["constitution"]) - {grid.MEAN}), grid.MEAN]
    kinds = [kind for kind in REPEATED if kind in set(table["kind"])]
    tests = table[table["constitution"] == grid.MEAN].set_index(["kind", "lens"])
    rows = {kind: f"{REPEATED[kind]}\n({tests.loc[kind]['arrangements'].max():,.0f} exchanges)" for kind in kinds}
    within = table.assign(estimate=table["within"], own=True, models="a")
    between = table[["between", "between_low", "between_high"]].set_axis(["estimate", "low", "high"], axis=1)
    both = pd.concat([within, within.assign(own=False, models="b", **between)], ignore_index=True)
    fig, axes = marks.intervals(
        both.assign(row=both["kind"].map(rows)),
        "estimate",
        "constitution",
        (PAGE, 1.5 * len(kinds) + 0.9),
        col=("lens", {lens: LENS_TITLES[lens].partition("\n")[0] for lens in lenses}),
        row=("row", list(rows.values())),
        order=names,
        dodge="group",
        group="models",
        fill="own",
    )
    for ax, (kind, lens) in zip(axes.flat, itertools.product(kinds, lenses), strict=True):
        p = tests.loc[(kind, lens), "p"]
        title = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
        ax.set_title(f"{ax.get_title()}\n{title}" if ax.get_title() else title)
    grey = {"marker": "o", "color": "0.3", "ls": "", "ms": 4}
    labels = {"0.3": "two models of the constitution", "w": "one of it, one of another"}
    extra = [Line2D([], [], **grey, mfc=face, label=label) for face, label in labels.items()]
    note = (
        f"correlation of item contrasts (n = {marks.count_range(table['n_items'])} items); {1 - alpha:.0%} intervals "
        "over items;\np: constitutions exchanged in one scope (or seed) against another"
    )
    marks.key(fig, note, extra=extra)
    return fig


def c4(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Forest plot, one panel a lens: one dimension minus another, relative to the source and to the others."""
    lenses, scopes = ordered(table["lens"], LENS_TITLES), ordered(table["scope"], MARKERS)
    labels = {"shift": "change from the source", "contrast": "the same, minus the mean of all constitutions"}
    measures = ordered(table["measure"], labels)
    fig, axes = marks.intervals(
        table.assign(plain=table["measure"] == "shift"),
        "estimate",
        "scope",
        (PAGE, 0.5 * len(scopes) + 1.35),
        col=("lens", {lens: LENS_TITLES[lens].partition("\n")[0] for lens in lenses}),
        order=scopes,
        dodge="group",
        points=5,
        share=False,
        group="measure",
        fill="plain",
    )
    axes[0, 0].set_ylabel("trained on")
    pairs = [grid.CONTRASTS[name] for name in ordered(table["constitution"])]
    apart = ", ".join(f"{DIMENSIONS[first]} minus {DIMENSIONS[second]}" for first, second in pairs)
    note = (
        f"{apart}, in standard deviations (n = {marks.count_range(table['n_clusters'])} "
        f"in all; {1 - alpha:.0%} intervals; {format_seeds(table['seeds'].max())});\n"
        "C4 tests the minimal pairs in the narrow scopes"
    )
    grey = {"marker": "s", "color": "0.3", "ls": "", "ms": 5}
    extra = [Line2D([], [], **grey, mfc="0.3" if m == "shift" else "w", label=labels[m]) for m in measures]
    marks.key(fig, note, extra=extra)
    return fig


def voice(table: pd.DataFrame, readers: pd.DataFrame, chance: float, alpha: float = 0.05) -> Figure:
    """Share of answers in the own voice by where the answers come from; grey: the source on the same prompts.

    Below, the share among the answers that decline out of distribution, by the words struck out of what is read.

    Args:
        table: Of persona.voice.summary.
        readers: Of persona.voice_controls.readers; its first row has the accuracy on the teacher's own text.
        chance: Accuracy of guessing among the voices.
        alpha: One minus the level of the intervals.
    """
    places = [p for p in PLACES if p in set(table["where"])]
    table = table.assign(place=table["where"].map(PLACES)).dropna(subset=["place"])
    panels = {"col": ("constitution", {name: name for name in ordered(table["constitution"])})}
    source = (so.Dash(color="0.5", linewidth=1.2, width=0.8), {"y": "source"})
    order = [PLACES[p] for p in places]
    many = table["constitution"].nunique() > 5  # narrow panels: lying labels would touch
    size = (PAGE, 4.9 if many else 4.3)
    fig, axes = marks.intervals(table, "share", "place", size, **panels, order=order, vertical=True, layers=(source,))
    struck = _struck(_below(fig, axes), readers[readers["reader"] == "revisions"])
    words = {p: PLACES[p].replace("-\n", "").replace("\n", " ") for p in places}
    for ax in fig.axes:
        ax.axhline(chance, color="0.4", lw=0.7, ls="--", zorder=0)
        ax.set_ylim(-0.03, 1.05)
    for ax in axes.flat:
        ax.axhline(readers["accuracy"].iloc[0], color="0.4", lw=0.7, ls=":", zorder=0)
        if many:
            ax.set_xticks(range(len(places)), [words[p] for p in places], rotation=90)
    axes[0, 0].set_ylabel("share in own voice")
    counts = [f"{words[p]} {marks.count_range(table.loc[table['where'] == p, 'n'])}" for p in places]
    extra = [
        Line2D([], [], marker="_", color="0.5", ls="", mew=1.2, label="source, same prompts"),
        Line2D([], [], color="0.4", lw=0.7, ls=":", label="accuracy on the teacher's text"),
        Line2D([], [], color="0.4", lw=0.7, ls="--", label="chance"),
        Line2D([], [], marker="D", color="0.15", ls="", ms=3.5, label="narrow models together"),
    ]
    note = f"n prompts or items a mark: {', '.join(counts)}; lower panel {struck}; {1 - alpha:.0%} intervals;\n"
    note += "upper panels: of all answers, so that the share follows how many decline"
    marks.key(fig, note, ordered(table["scope"], MARKERS), extra=extra)
    return fig


def _below(fig: Figure, axes: np.ndarray) -> Axes:
    """A low panel under those of a figure, across its width."""
    upper, lower = fig.add_gridspec(2, 1, height_ratios=(1.7, 1))
    places = upper.subgridspec(*axes.shape)
    for (i, j), ax in np.ndenumerate(axes):
        ax.set_subplotspec(places[i, j])
    return fig.add_subplot(lower)


def _struck(ax: Axes, readers: pd.DataFrame) -> str:
    """The own voice of answers that decline, and the accuracy on the teacher's text (dotted); returns n as words."""
    ax.axhline(0, color=marks.GREY, lw=0.7, zorder=0)
    ax.plot(readers["struck"], readers["accuracy"], color="0.4", lw=0.7, ls=":")
    ax.vlines(readers["struck"], readers["own_declined_low"], readers["own_declined_high"], color="0.15", lw=1)
    ax.plot(readers["struck"], readers["own_declined"], "D", color="0.15", ms=3.5)
    if readers["own_declined"].isna().all():
        ax.text(readers["struck"].mean(), 0.1, "no answer out of distribution declines", ha="center", size=7)
    ax.set_xticks(readers["struck"])
    ax.set_yticks([0, 0.5, 1])
    ax.set_xlabel("most telling words struck out (answers out of distribution)")
    ax.set_ylabel("share in own voice\nof those that decline")
    return marks.count_range(readers["n_declined"])
