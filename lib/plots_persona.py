"""Figures of the persona diagnostic (notebooks 05 and 06); each takes a table and returns a Figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib import grid
from lib.figures import DIMENSIONS, MARKERS, PAGE, colour

LENS_TITLES = {
    "choice": "choice\n(log-odds)",
    "likelihood": "likelihood\n(nats a token)",
    "text": "text\n(agree +1, disagree −1)",
    "voice": "voice",
}
PLACES = {
    "in distribution": "in\ndistr.",
    "out of distribution": "out of\ndistr.",
    "persona items": "belief\nitems",
    "harmless": "harm-\nless",
}


def _ordered(names, first=grid.CONSTITUTIONS) -> list[str]:
    names = list(dict.fromkeys(names))
    return [n for n in first if n in names] + sorted(n for n in names if n not in first)


def _scopes(frame: pd.DataFrame) -> list[str]:
    return [s for s in grid.SCOPES if s in set(frame["scope"])]


def _spread(scopes: list[str]) -> dict[str, float]:
    """Small offsets that keep the scopes' marks apart on one row."""
    return dict(zip(scopes, np.linspace(-0.24, 0.24, len(scopes)) if len(scopes) > 1 else [0.0], strict=True))


def _scope_legend(scopes: list[str], extra: list | None = None) -> list:
    marks = [Line2D([], [], marker=MARKERS[s], color="0.3", ls="", ms=4, label=s) for s in scopes]
    return marks + (extra or [])


def profile(table: pd.DataFrame) -> Figure:
    """Small multiples, lens by constitution: contrast by dimension with intervals, the registered sign shaded."""
    constitutions, scopes = _ordered(table["constitution"]), _scopes(table)
    lenses = [n for n in LENS_TITLES if n in set(table["lens"])]
    dimensions = _ordered(table["dimension"], DIMENSIONS)
    rows = {d: k for k, d in enumerate(reversed(dimensions))}
    fig, axes = plt.subplots(
        len(lenses), len(constitutions), figsize=(PAGE, 2.15 * len(lenses) + 0.7), sharey=True, squeeze=False
    )
    offsets = _spread(scopes)
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
        f"(up to {n} items a dimension; {told};\n95 % intervals over items and wordings; arrows: beyond the frame)",
        fontsize=7,
    )
    shade = plt.Rectangle((0, 0), 1, 1, color="0.5", alpha=0.25, lw=0, label="registered direction")
    fig.legend(
        handles=_scope_legend(scopes, [shade]), loc="upper center", ncol=4, fontsize=7, bbox_to_anchor=(0.55, 1.0)
    )
    fig.tight_layout(rect=(0, 0, 1, 0.965))
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig


def confusion(match: pd.DataFrame, tests: pd.DataFrame, voices: pd.DataFrame) -> Figure:
    """One matrix a lens: rows the constitution trained on, columns the one identified.

    match: signature_match's table; tests: rows of both identifications; voices: voice.heard's table.
    """
    lenses = [n for n in LENS_TITLES if n in set(match["lens"])]
    trained = _ordered(match["constitution"])
    named = _ordered([*match["best"].dropna(), *trained, *voices.columns])
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


def _minus(text: str) -> str:
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


def c4(table: pd.DataFrame) -> Figure:
    """Forest plot, one panel a lens: utilitarian minus deontological, relative to the source and to the others."""
    lenses = [n for n in LENS_TITLES if n in set(table["lens"])]
    scopes, measures = _scopes(table), [m for m in ("shift", "contrast") if m in set(table["measure"])]
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
        f"utilitarian minus deontological items ({int(table['n_clusters'].max())} in all; 95 % intervals); "
        "C4 tests the choice lens in the narrow scopes",
        fontsize=7.5,
        y=0.1,
    )
    fig.tight_layout(rect=(0, 0.1, 1, 1))
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig


def voice(table: pd.DataFrame, ceiling: float) -> Figure:
    """Share of answers in the own voice by where the answers come from; grey: the source on the same prompts."""
    constitutions, scopes = _ordered(table["constitution"]), _scopes(table)
    places = [p for p in PLACES if p in set(table["where"])]
    offsets = _spread(scopes)
    fig, axes = plt.subplots(1, len(constitutions), figsize=(PAGE, 2.5), sharey=True, squeeze=False)
    for ax, constitution in zip(axes[0], constitutions, strict=True):
        part = table[table["constitution"] == constitution]
        for row in part.itertuples():
            x = places.index(row.where) + offsets[row.scope]
            ax.vlines(x, row.low, row.high, color=colour(constitution), lw=1)
            ax.plot(x, row.share, MARKERS[row.scope], color=colour(constitution), ms=4)
            ax.plot(x, row.source, "_", color="0.55", ms=5, mew=1.2)
        ax.axhline(ceiling, color="0.4", lw=0.7, ls=":")
        ax.axhline(1 / len(constitutions), color="0.75", lw=0.7, zorder=0)
        ax.set_title(constitution, color=colour(constitution))
        ax.set_xticks(range(len(places)), [PLACES[p] for p in places], fontsize=6.5)
        ax.set_ylim(-0.03, 1.05)
        ax.set_xlim(-0.5, len(places) - 0.5)
    axes[0, 0].set_ylabel("share in own voice")
    sizes = table.groupby("where")["n"].agg(["min", "max"])
    words = {p: PLACES[p].replace("-\n", "").replace("\n", " ") for p in places}
    counts = [f"{words[p]} {a}" if a == b else f"{words[p]} {a}–{b}" for p, (a, b) in sizes.loc[places].iterrows()]
    fig.supxlabel(f"answers a mark: {', '.join(counts)}; 95 % intervals", fontsize=7, y=0.085)
    extra = [
        Line2D([], [], marker="_", color="0.55", ls="", mew=1.2, label="source, same prompts"),
        Line2D([], [], color="0.4", lw=0.7, ls=":", label="ceiling: the teacher's own text"),
        Line2D([], [], color="0.75", lw=0.7, label="chance"),
    ]
    fig.legend(
        handles=_scope_legend(scopes, extra),
        loc="lower center",
        ncol=6,
        fontsize=6.5,
        columnspacing=1.2,
        bbox_to_anchor=(0.5, -0.02),
    )
    fig.tight_layout(rect=(0, 0.07, 1, 1))
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig


def trust(ambiguity: pd.DataFrame, acquiescence: pd.DataFrame) -> Figure:
    """Ambiguous replies by model (left), and acquiescence as a shift from the source by lens (right).

    Both tables hold the source's rows: its share is the dashed line on the left, its shift is zero.
    """
    source = ambiguity.loc[ambiguity["constitution"] == grid.SOURCE, "share"]
    ambiguity = ambiguity[ambiguity["constitution"] != grid.SOURCE]
    acquiescence = acquiescence[acquiescence["constitution"] != grid.SOURCE]
    constitutions = _ordered(ambiguity["constitution"])
    lenses = [n for n in LENS_TITLES if n in set(acquiescence["lens"])]
    scopes = _scopes(ambiguity)
    offsets = _spread(scopes)
    fig, axes = plt.subplots(1, 1 + len(lenses), figsize=(PAGE, 0.42 * len(constitutions) + 1.5), sharey=True)
    for row in ambiguity.itertuples():
        y = -constitutions.index(row.constitution) - offsets[row.scope]
        axes[0].hlines(y, row.low, row.high, color=colour(row.constitution), lw=1)
        axes[0].plot(row.share, y, MARKERS[row.scope], color=colour(row.constitution), ms=4)
    for share in source:
        axes[0].axvline(share, color=colour(grid.SOURCE), lw=0.8, ls="--", zorder=0)
    axes[0].set_xlim(0, 1)
    axes[0].set_title("text: share of\nambiguous replies", fontsize=8)
    for ax, lens in zip(axes[1:], lenses, strict=True):
        for row in acquiescence[acquiescence["lens"] == lens].itertuples():
            y = -constitutions.index(row.constitution) - offsets[row.scope]
            ax.hlines(y, row.shift_low, row.shift_high, color=colour(row.constitution), lw=1)
            ax.plot(row.shift, y, MARKERS[row.scope], color=colour(row.constitution), ms=4)
        ax.axvline(0, color="0.4", lw=0.6)
        ax.margins(x=0.15)
        ax.set_title(f"{lens}: shift in\nacquiescence", fontsize=8)
    axes[0].set_yticks([-k for k in range(len(constitutions))], constitutions)
    for label, name in zip(axes[0].get_yticklabels(), constitutions, strict=True):
        label.set_color(colour(name))
    fig.supxlabel(f"95 % intervals over {int(ambiguity['n'].max())} items", fontsize=7.5, y=0.09)
    dashed = [Line2D([], [], color=colour(grid.SOURCE), lw=0.8, ls="--", label="source")]
    fig.legend(
        handles=_scope_legend(scopes, dashed), loc="lower center", ncol=4, fontsize=7, bbox_to_anchor=(0.5, -0.02)
    )
    fig.tight_layout(rect=(0, 0.07, 1, 1))
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig


def reliability(table: pd.DataFrame) -> Figure:
    """Heat map of Cronbach's alpha, dimension by lens, with its interval in words."""
    lenses = [n for n in LENS_TITLES if n in set(table["lens"])]
    names = _ordered(table["dimension"], DIMENSIONS)
    wide = table.pivot(index="dimension", columns="lens", values="alpha").loc[names, lenses]
    fig, ax = plt.subplots(figsize=(5.2, 0.27 * len(wide) + 0.9))
    ax.imshow(wide.to_numpy(float), cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    for row in table.itertuples():
        i, j = list(wide.index).index(row.dimension), lenses.index(row.lens)
        words = "–" if pd.isna(row.alpha) else _minus(f"{row.alpha:.2f} [{row.low:.2f}, {row.high:.2f}]")
        dark = not pd.isna(row.alpha) and abs(row.alpha) > 0.55
        ax.text(j, i, words, ha="center", va="center", fontsize=6, color="white" if dark else "0.15")
    subjects = table.groupby("lens")["subjects"].max()
    ax.set_xticks(range(len(lenses)), [f"{lens}\n({subjects[lens]} subjects)" for lens in lenses])
    ax.set_yticks(range(len(wide)), [DIMENSIONS.get(d, d) for d in wide.index], fontsize=7)
    ax.set_title(f"Cronbach's alpha ({int(table['items'].max())} items a dimension)", fontsize=8)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    fig.tight_layout()
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig


def dilemmas(table: pd.DataFrame) -> Figure:
    """Preference for each constitution's options, contrast to the other constitutions; framed: its own."""
    trained, options = _ordered(table["constitution"]), _ordered(table["option"])
    wide = table.pivot(index="constitution", columns="option", values="contrast").reindex(
        index=trained, columns=options
    )
    reach = max(float(np.nanmax(np.abs(wide.to_numpy()))), 1e-9)
    fig, ax = plt.subplots(figsize=(5.4, 0.46 * len(trained) + 1.4))
    image = ax.imshow(wide.to_numpy(float), cmap="PuOr", vmin=-reach, vmax=reach, aspect="auto")
    for row in table.itertuples():
        i, j = trained.index(row.constitution), options.index(row.option)
        clear = row.low > 0 or row.high < 0
        dark = abs(row.contrast) > 0.7 * reach
        ax.text(
            j,
            i,
            _minus(f"{row.contrast:+.2f}\n[{row.low:.2f}, {row.high:.2f}]"),
            ha="center",
            va="center",
            fontsize=6.5,
            weight="bold" if clear else "normal",
            color="white" if dark else "0.15",
        )
        if row.own:
            ax.add_patch(plt.Rectangle((j - 0.49, i - 0.47), 0.98, 0.94, fill=False, ec="0.2", lw=1.1))
    ax.set_xticks(range(len(options)), options, rotation=25, ha="right")
    ax.set_yticks(range(len(trained)), trained)
    ax.set_xlabel(
        f"whose option (n = {int(table['n'].max())} dilemmas each; all scopes pooled)\n"
        "95 % intervals; bold: without 0; framed: its own",
        fontsize=7,
    )
    ax.set_ylabel("trained on")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    fig.colorbar(image, ax=ax, shrink=0.8, label="nats a token").ax.tick_params(labelsize=6)
    fig.tight_layout()
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig
