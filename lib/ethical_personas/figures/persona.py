"""Figures of the persona diagnostic (notebooks 05 and 06); each takes a table and returns a Figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ethical_personas.figures.style import DIMENSIONS, LENS_TITLES, MARKERS, PAGE, colour
from ethical_personas.study import grid

PLACES = {
    "in distribution": "in\ndistr.",
    "out of distribution": "out of\ndistr.",
    "persona items": "belief\nitems",
    "harmless": "harm-\nless",
}


def ordered(names, first=grid.CONSTITUTIONS) -> list[str]:
    names = list(dict.fromkeys(names))
    return [n for n in first if n in names] + sorted(n for n in names if n not in first)


def scopes_of(frame: pd.DataFrame) -> list[str]:
    return [s for s in grid.SCOPES if s in set(frame["scope"])]


def spread(scopes: list[str]) -> dict[str, float]:
    """Small offsets that keep the scopes' marks apart on one row."""
    return dict(zip(scopes, np.linspace(-0.24, 0.24, len(scopes)) if len(scopes) > 1 else [0.0], strict=True))


def scope_legend(scopes: list[str], extra: list | None = None) -> list:
    marks = [Line2D([], [], marker=MARKERS[s], color="0.3", ls="", ms=4, label=s) for s in scopes]
    return marks + (extra or [])


def profile(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Small multiples, lens by constitution: contrast by dimension with intervals, the registered sign shaded."""
    constitutions, scopes = ordered(table["constitution"]), scopes_of(table)
    lenses = [n for n in LENS_TITLES if n in set(table["lens"])]
    dimensions = ordered(table["dimension"], DIMENSIONS)
    rows = {d: k for k, d in enumerate(reversed(dimensions))}
    fig, axes = plt.subplots(
        len(lenses), len(constitutions), figsize=(PAGE, 2.15 * len(lenses) + 0.7), sharey=True, squeeze=False
    )
    offsets = spread(scopes)
    for i, lens in enumerate(lenses):
        reach = table.loc[table["lens"] == lens, ["scaled_low", "scaled_high"]].abs().quantile(0.97).max()
        reach = 1.0 if np.isnan(reach) or reach == 0 else reach
        for j, constitution in enumerate(constitutions):
            ax = axes[i, j]
            part = table[(table["lens"] == lens) & (table["constitution"] == constitution)]
            for row in part.drop_duplicates("dimension").itertuples():
                if row.expected == row.expected and row.expected != 0:
                    at, width = (0, reach) if row.expected > 0 else (-reach, reach)
                    ax.barh(
                        rows[row.dimension], width, left=at, height=0.9, color=colour(constitution), alpha=0.13, lw=0
                    )
            for scope, cell in part.groupby("scope"):
                y = np.array([rows[d] for d in cell["dimension"]]) - offsets[scope]
                low, high = cell["scaled_low"].to_numpy(), cell["scaled_high"].to_numpy()
                ax.hlines(y, low, high, color=colour(constitution), lw=0.8)
                for beyond, edge, arrow in ((low < -reach, -reach, "<"), (high > reach, reach, ">")):
                    for end in y[beyond]:
                        ax.plot(edge, end, arrow, color=colour(constitution), ms=3, mew=0, clip_on=False)
                ax.plot(cell["scaled"], y, MARKERS[scope], color=colour(constitution), ms=2.8, mec="white", mew=0.3)
            ax.axvline(0, color="0.4", lw=0.6)
            ax.set_xlim(-reach, reach)
            ax.set_ylim(-0.6, len(dimensions) - 0.4)
            ax.tick_params(labelsize=6.5, length=2)
            if i == 0:
                ax.set_title(constitution, color=colour(constitution))
            if j == 0:
                ax.set_yticks(list(rows.values()), [DIMENSIONS.get(d, d) for d in rows], fontsize=6.5)
                ax.set_ylabel(lens, fontsize=9)
    n, wordings = int(table["n_items"].max()), table.groupby("lens")["wordings"].max()
    told = ", ".join(f"{lens} {wordings[lens]} wordings" for lens in lenses)
    fig.supxlabel(
        "contrast to the mean of the constitutions, in standard deviations of the lens over items\n"
        f"(up to {n} items a dimension; {told};\n"
        f"{1 - alpha:.0%} intervals over items and wordings; arrows: beyond the frame)",
        fontsize=7,
    )
    shade = plt.Rectangle((0, 0), 1, 1, color="0.5", alpha=0.25, lw=0, label="registered direction")
    fig.legend(
        handles=scope_legend(scopes, [shade]), loc="upper center", ncol=4, fontsize=7, bbox_to_anchor=(0.55, 1.0)
    )
    fig.tight_layout(rect=(0, 0, 1, 0.965))
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig


def confusion(match: pd.DataFrame, tests: pd.DataFrame, voices: pd.DataFrame) -> Figure:
    """One matrix a lens: rows the constitution trained on, columns the one identified.

    match: signature_match's table; tests: rows of both identifications; voices: voice.voice_shares' table.
    """
    lenses = [n for n in LENS_TITLES if n in set(match["lens"])]
    trained = ordered(match["constitution"])
    named = ordered([*match["best"].dropna(), *trained, *voices.columns])
    fig, axes = plt.subplots(1, len(lenses) + 1, figsize=(PAGE, 2.75), sharey=True, squeeze=False)
    for ax, lens in zip(axes[0], lenses, strict=False):
        part = match[match["lens"] == lens]
        counts = pd.crosstab(part["constitution"], part["best"]).reindex(index=trained, columns=named, fill_value=0)
        shares = counts.div(counts.sum(1).clip(lower=1), axis=0)
        test = tests[tests["lens"] == lens]
        title = lens
        if len(test):
            t = test.iloc[0]
            title += f"\n{t['identified']:.0f} of {t['models']:.0f}, {_p(t['p_identified'])}"
        _matrix(ax, shares, counts.astype(str), title)
    test = tests[tests["lens"] == "voice"].iloc[0]
    spoken = f"{test['identified']:.0f} of {test['models']:.0f}, {_p(test['p_identified'])}"
    table = voices.groupby(level="constitution").mean().reindex(index=trained, columns=named)
    _matrix(
        axes[0, -1],
        table.fillna(0),
        table.map(lambda v: "" if pd.isna(v) else f"{v:.2f}"),
        f"voice (shares of answers)\n{spoken}",
    )
    axes[0, 0].set_yticks(range(len(trained)), trained)
    axes[0, 0].set_ylabel("trained on")
    fig.supxlabel(
        "best-matching signature (choice, likelihood, text: models, one for each scope) or voice", fontsize=7.5
    )
    fig.tight_layout()
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig


def minus(text: str) -> str:
    """The same text with the minus sign that the axes use."""
    return text.replace("-", "−")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _matrix(ax, shares: pd.DataFrame, labels: pd.DataFrame, title: str) -> None:
    ax.imshow(shares.to_numpy(float), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(shares.to_numpy(float)):
        ax.text(j, i, labels.iloc[i, j], ha="center", va="center", fontsize=7, color="white" if value > 0.55 else "0.2")
    ax.set_xticks(range(shares.shape[1]), shares.columns, rotation=40, ha="right", fontsize=6.5)
    ax.set_title(title, fontsize=8)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def c4(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Forest plot, one panel a lens: utilitarian minus deontological, relative to the source and to the others."""
    lenses = [n for n in LENS_TITLES if n in set(table["lens"])]
    scopes, measures = scopes_of(table), [m for m in ("shift", "contrast") if m in set(table["measure"])]
    labels = {"shift": "change from the source", "contrast": "the same, minus the mean of all constitutions"}
    fig, axes = plt.subplots(1, len(lenses), figsize=(PAGE, 0.5 * len(scopes) + 1.35), sharey=True, squeeze=False)
    for ax, lens in zip(axes[0], lenses, strict=True):
        for row in table[table["lens"] == lens].itertuples():
            y = -scopes.index(row.scope) + (0.13 if row.measure == "shift" else -0.13)
            face = colour(row.constitution) if row.measure == "shift" else "white"
            ax.hlines(y, row.low, row.high, color=colour(row.constitution), lw=1.2)
            ax.plot(row.estimate, y, MARKERS[row.scope], color=colour(row.constitution), mfc=face, ms=5)
        ax.axvline(0, color="0.4", lw=0.6)
        ax.set_title(LENS_TITLES[lens], fontsize=8)
        ax.set_ylim(-len(scopes) + 0.5, 0.5)
        ax.margins(x=0.12)
    axes[0, 0].set_yticks([-k for k in range(len(scopes))], scopes)
    grey = {"marker": "s", "color": "0.3", "ls": "", "ms": 5}
    handles = [Line2D([], [], **grey, mfc="0.3" if m == "shift" else "white", label=labels[m]) for m in measures]
    fig.legend(handles=handles, loc="lower center", ncol=2, fontsize=7, bbox_to_anchor=(0.5, -0.02))
    fig.supxlabel(
        f"utilitarian minus deontological items ({int(table['n_clusters'].max())} in all; {1 - alpha:.0%} intervals); "
        "C4 tests the choice lens in the narrow scopes",
        fontsize=7.5,
        y=0.1,
    )
    fig.tight_layout(rect=(0, 0.1, 1, 1))
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig


def voice(table: pd.DataFrame, ceiling: float, chance: float, alpha: float = 0.05) -> Figure:
    """Share of answers in the own voice by where the answers come from; grey: the source on the same prompts.

    ceiling, chance: the classifier's accuracy on the teacher's own text, and that of guessing among its voices.
    """
    constitutions, scopes = ordered(table["constitution"]), scopes_of(table)
    places = [p for p in PLACES if p in set(table["where"])]
    offsets = spread(scopes)
    fig, axes = plt.subplots(1, len(constitutions), figsize=(PAGE, 2.5), sharey=True, squeeze=False)
    for ax, constitution in zip(axes[0], constitutions, strict=True):
        part = table[table["constitution"] == constitution]
        for row in part.itertuples():
            x = places.index(row.where) + offsets[row.scope]
            ax.vlines(x, row.low, row.high, color=colour(constitution), lw=1)
            ax.plot(x, row.share, MARKERS[row.scope], color=colour(constitution), ms=4)
            ax.plot(x, row.source, "_", color="0.55", ms=5, mew=1.2)
        ax.axhline(ceiling, color="0.4", lw=0.7, ls=":")
        ax.axhline(chance, color="0.75", lw=0.7, zorder=0)
        ax.set_title(constitution, color=colour(constitution))
        ax.set_xticks(range(len(places)), [PLACES[p] for p in places], fontsize=6.5)
        ax.set_ylim(-0.03, 1.05)
        ax.set_xlim(-0.5, len(places) - 0.5)
    axes[0, 0].set_ylabel("share in own voice")
    sizes = table.groupby("where")["n"].agg(["min", "max"])
    words = {p: PLACES[p].replace("-\n", "").replace("\n", " ") for p in places}
    counts = [f"{words[p]} {a}" if a == b else f"{words[p]} {a}–{b}" for p, (a, b) in sizes.loc[places].iterrows()]
    fig.supxlabel(f"answers a mark: {', '.join(counts)}; {1 - alpha:.0%} intervals", fontsize=7, y=0.085)
    extra = [
        Line2D([], [], marker="_", color="0.55", ls="", mew=1.2, label="source, same prompts"),
        Line2D([], [], color="0.4", lw=0.7, ls=":", label="ceiling: the teacher's own text"),
        Line2D([], [], color="0.75", lw=0.7, label="chance"),
    ]
    fig.legend(
        handles=scope_legend(scopes, extra),
        loc="lower center",
        ncol=6,
        fontsize=6.5,
        columnspacing=1.2,
        bbox_to_anchor=(0.5, -0.02),
    )
    fig.tight_layout(rect=(0, 0.07, 1, 1))
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig
