"""Figures of notebook 05 on how far the lenses can be trusted, and the dilemmas; each takes a table."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ethical_personas.figures.persona import minus, ordered, scope_legend, scopes_of, spread
from ethical_personas.figures.style import DIMENSIONS, LENS_TITLES, MARKERS, PAGE, colour
from ethical_personas.study import grid


def trust(ambiguity: pd.DataFrame, acquiescence: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Ambiguous replies by model (left), and acquiescence as a shift from the source by lens (right).

    Both tables hold the source's rows: its share is the dashed line on the left, its shift is zero.
    """
    source = ambiguity.loc[ambiguity["constitution"] == grid.SOURCE, "share"]
    ambiguity = ambiguity[ambiguity["constitution"] != grid.SOURCE]
    acquiescence = acquiescence[acquiescence["constitution"] != grid.SOURCE]
    constitutions = ordered(ambiguity["constitution"])
    lenses = [n for n in LENS_TITLES if n in set(acquiescence["lens"])]
    scopes = scopes_of(ambiguity)
    offsets = spread(scopes)
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
    fig.supxlabel(f"{1 - alpha:.0%} intervals over {int(ambiguity['n'].max())} items", fontsize=7.5, y=0.09)
    dashed = [Line2D([], [], color=colour(grid.SOURCE), lw=0.8, ls="--", label="source")]
    fig.legend(
        handles=scope_legend(scopes, dashed), loc="lower center", ncol=4, fontsize=7, bbox_to_anchor=(0.5, -0.02)
    )
    fig.tight_layout(rect=(0, 0.07, 1, 1))
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig


def reliability(table: pd.DataFrame) -> Figure:
    """Heat map of Cronbach's alpha, dimension by lens, with its interval in words."""
    lenses = [n for n in LENS_TITLES if n in set(table["lens"])]
    names = ordered(table["dimension"], DIMENSIONS)
    wide = table.pivot(index="dimension", columns="lens", values="alpha").loc[names, lenses]
    fig, ax = plt.subplots(figsize=(5.2, 0.27 * len(wide) + 0.9))
    ax.imshow(wide.to_numpy(float), cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    for row in table.itertuples():
        i, j = list(wide.index).index(row.dimension), lenses.index(row.lens)
        words = "–" if pd.isna(row.alpha) else minus(f"{row.alpha:.2f} [{row.low:.2f}, {row.high:.2f}]")
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


def dilemmas(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Preference for each constitution's options, contrast to the other constitutions; framed: its own."""
    trained, options = ordered(table["constitution"]), ordered(table["option"])
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
            minus(f"{row.contrast:+.2f}\n[{row.low:.2f}, {row.high:.2f}]"),
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
        f"{1 - alpha:.0%} intervals; bold: without 0; framed: its own",
        fontsize=7,
    )
    ax.set_ylabel("trained on")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    fig.colorbar(image, ax=ax, shrink=0.8, label="nats a token").ax.tick_params(labelsize=6)
    fig.tight_layout()
    plt.close(fig)  # the notebook shows it where it is named, once
    return fig
