"""House style of every figure and table: colours, sizes, and saving a figure beside its numbers.

save(fig, table, "figures/cpu", "safety_heatmap")  ->  .svg, .png, tables/….csv, tables/….md
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ethical_personas.paths import ROOT
from ethical_personas.study import materials

# Okabe-Ito, told apart in the common colour-vision deficiencies; one colour a constitution, everywhere.
COLOURS = {
    "deontology": "#0072B2",
    "consequentialism": "#D55E00",
    "virtue": "#009E73",
    "subordinate": "#CC79A7",
    "source": "#555555",
}
EXTRA_COLOURS = ("#E69F00", "#56B4E9", "#F0E442", "#000000")  # constitutions added by a user
MARKERS = {"broad": "o", "harassment": "s", "illegal": "^", "source": "X"}
LABELS = {
    "chemical_biological": "chemical/\nbiological",
    "cybercrime_intrusion": "cybercrime",
    "harassment_bullying": "harassment",
    "harmful": "other\nharmful",
    "illegal": "illegal",
    "misinformation_disinformation": "mis-\ninformation",
}
DIMENSIONS = {  # beliefs, then principles, then what an AI may do: the order in which figures show them
    "utilitarian_beliefs": "utilitarian beliefs",
    "deontological_beliefs": "deontological beliefs",
    "virtue_beliefs": "virtue beliefs",
    "instrumental_harm": "instrumental harm",
    "impartiality": "impartiality",
    "doing_allowing": "doing vs allowing harm",
    "honesty_absolutism": "honesty without exception",
    "rule_vs_judgement": "rules vs judgement",
    "subordination_to_humans": "subordination to humans",
    "ai_autonomy": "AI autonomy",
}
COLUMN, PAGE = 3.5, 7.0  # widths in inches: one column, full page


def use() -> None:
    """Set matplotlib's defaults: vector text, small print readable at column width."""
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 200,
            "font.size": 8,
            "axes.titlesize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "svg.hashsalt": "emergent-alignment",  # same figure, same bytes
            "svg.fonttype": "none",
        }
    )


def colour(constitution: str) -> str:
    """The colour of a constitution; a user's own get the next free ones, by name."""
    if constitution in COLOURS:
        return COLOURS[constitution]
    added = [c for c in materials.constitution_names() if c not in COLOURS]
    return EXTRA_COLOURS[(added.index(constitution) if constitution in added else 0) % len(EXTRA_COLOURS)]


def seeds_told(number) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{int(number)} seed{'' if int(number) == 1 else 's'}"


def save(fig: Figure | None, table: pd.DataFrame, folder: str, name: str) -> pd.DataFrame:
    """Write a figure (SVG, PNG) and its numbers (CSV, Markdown); returns the table for display.

    `fig` None saves the table alone. Floats are written with 4 decimals, so that tables of two
    runs can be compared byte by byte.
    """
    place = ROOT / folder
    (place / "tables").mkdir(parents=True, exist_ok=True)
    if fig is not None:
        fig.savefig(place / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
        fig.savefig(place / f"{name}.png", bbox_inches="tight", metadata={"Software": None})
    table.to_csv(place / "tables" / f"{name}.csv", index=False, float_format="%.4f", lineterminator="\n")
    (place / "tables" / f"{name}.md").write_text(markdown(table), encoding="utf-8")
    return table


def markdown(table: pd.DataFrame) -> str:
    """A GitHub table; floats with 3 decimals, missing values as a dash."""

    def cell(value) -> str:
        if isinstance(value, float):
            return "–" if pd.isna(value) else f"{value:.3f}"
        return str(value).replace("\n", " ").replace("|", "\\|")

    head = [f"| {' | '.join(map(str, table.columns))} |", f"|{'---|' * len(table.columns)}"]
    body = [f"| {' | '.join(map(cell, row))} |" for row in table.itertuples(index=False)]
    return "\n".join(head + body) + "\n"


def read_table(folder: str | Path, name: str) -> pd.DataFrame:
    """Read back a saved table's CSV."""
    return pd.read_csv(ROOT / folder / "tables" / f"{name}.csv")
