"""House style of every figure and table: colours, sizes, and saving a figure beside its numbers.

save(fig, table, "figures/cpu", "safety_heatmap")  ->  .svg, .png, tables/….csv, tables/….md
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ethical_personas.paths import ROOT
from ethical_personas.study import grid, materials

# Okabe-Ito, told apart in the common colour-vision deficiencies; one colour a constitution, everywhere.
CONTROL_COLOURS = {name: arm.colour for name, arm in grid.STUDY.controls.items()}  # arms without a constitution
COLOURS = {name: arm.colour for name, arm in grid.STUDY.constitutions.items()} | CONTROL_COLOURS
COLOURS |= {grid.SOURCE: "#555555", grid.MEAN: "#000000"}
EXTRA_COLOURS = ("#E69F00", "#56B4E9", "#F0E442", "#882255")  # constitutions that study.yaml does not list
MARKERS = {name: scope.marker for name, scope in grid.STUDY.scopes.items()} | {grid.SOURCE: "X"}
LABELS = {name: c.label or name for name, c in (grid.STUDY.categories | grid.STUDY.kinds).items()}
LENS_TITLES = {name: lens.title(name) for name, lens in grid.STUDY.lenses.items()}
DIMENSIONS = grid.STUDY.dimensions
ordered = grid.ordered  # control arms last
COLUMN, PAGE = 3.5, 7.0  # widths in inches: one column, full page


def use() -> None:
    """Set the look of every figure and table, from matplotlib's own defaults: a user's matplotlibrc has no say."""
    pd.set_option("display.max_columns", None, "display.max_colwidth", None, "display.max_rows", 400)  # nothing elided
    matplotlib.rcdefaults()  # keeps the backend
    # The font that matplotlib brings with it: the same text widths, so the same layout, on every machine.
    look = {
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "figure.dpi": 110,
        "savefig.dpi": 200,
        "svg.hashsalt": "emergent-alignment",  # same figure, same bytes
        "svg.fonttype": "none",
    }
    small = ("axes.labelsize", "figure.labelsize", "legend.fontsize", "legend.title_fontsize")
    look |= dict.fromkeys(small, 7)
    for axis in ("xtick", "ytick"):
        look |= {f"{axis}.labelsize": 7, f"{axis}.major.width": 0.8, f"{axis}.major.size": 3}
    sns.set_theme(context="paper", style="ticks", rc=look)


def colour(constitution: str) -> str:
    """The colour of a constitution; control arms are grey, a user's own get the next free ones, by name."""
    if constitution in COLOURS:
        return COLOURS[constitution]
    added = [c for c in materials.constitution_names() if c not in COLOURS]
    return EXTRA_COLOURS[(added.index(constitution) if constitution in added else 0) % len(EXTRA_COLOURS)]


def format_seeds(number) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{int(number)} seed{'' if int(number) == 1 else 's'}"


def empty(why: str) -> Figure:
    """A figure that says why there is nothing to draw: a run leaves the same files whatever it could measure."""
    figure = Figure(figsize=(COLUMN, 0.5))
    figure.text(0.5, 0.5, why, ha="center", va="center", color="#555555")
    return figure


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
        plt.close(fig)  # the notebook shows it where it names it, once
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
