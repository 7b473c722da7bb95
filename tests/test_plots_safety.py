"""Figures show the numbers of their tables, for whole and for odd grids, without overlapping row labels."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import simulate
from ethical_personas.figures import projectability as draw_projectability
from ethical_personas.figures import safety as draw
from ethical_personas.figures import style
from ethical_personas.projectability import compare, persona, ratio
from ethical_personas.safety import gains
from matplotlib.patches import Rectangle

mpl.use("agg")
GRIDS = {
    "whole": {},
    "smoke": {
        "constitutions": ("deontology", "consequentialism"),
        "scopes": ("broad", "harassment"),
        "per_category": 2,
    },
    "one": {"constitutions": ("stoic",), "scopes": ("illegal",), "per_category": 1, "harmless": (1, 1)},
}


@pytest.fixture(params=GRIDS, autouse=True)
def panel(request):
    style.use()
    yield gains.panel(simulate.frame(gain=0.7, **GRIDS[request.param]))
    plt.close("all")


def texts(fig):
    return [t.get_text() for t in fig.findobj(mpl.text.Text) if t.get_text()]


def test_heatmap_prints_every_rate_and_frames_held_out_cells(panel):
    rates = gains.rates(panel)
    rates.loc[0, ["estimate", "low", "high"]] = np.nan
    fig = draw.heatmap(rates)
    printed = texts(fig)
    for value in rates["estimate"].dropna():
        assert f"{value:.2f}" in printed
    assert "–" in printed
    frames = [r for r in fig.axes[0].findobj(Rectangle) if r.get_edgecolor()[:2] == mpl.colors.to_rgb("#E69F00")[:2]]
    narrow = [m for m in gains.models(panel) if m[1] != "broad"]
    assert len(frames) == len(narrow)


def test_scope_labels_keep_clear_of_names(panel):
    for fig in (draw.heatmap(gains.rates(panel)), draw.forest(gains.table(panel))):
        fig.canvas.draw()
        ax = fig.axes[0]
        names = min(t.get_window_extent().x0 for t in ax.get_yticklabels())
        scopes = [t for t in ax.texts if t.get_text() in ("broad", "harassment", "illegal") and t.get_rotation() == 90]
        assert scopes and max(t.get_window_extent().x1 for t in scopes) <= names + 1


def test_forest_corners_and_transfer(panel):
    fig = draw.forest(gains.table(panel))
    assert any(t.startswith("n = ") and "seed" in t for t in texts(fig))
    printed = texts(draw.corners(gains.overall(panel)))
    assert {"helpful-only", "refuses everything", "ideal"} <= set(printed)
    matrix = gains.transfer(panel)
    assert len([t for t in texts(draw.transfer(matrix)) if "[" in t]) == len(matrix)


def test_dose_starts_at_the_source(panel):
    frame = simulate.frame(constitutions=("deontology",), scopes=("harassment",), per_category=2)
    early = frame[frame["model"] != "source"].assign(model="deontology-harassment-s0@6")
    table = gains.dose(pd.concat([frame[frame["model"] == "source"], early]))
    fig = draw.dose(table, gains.table(panel))
    assert all(
        line.get_xdata()[0] == 0 and line.get_ydata()[0] == 0
        for line in fig.axes[0].lines
        if line.get_marker() != "None"
    )


def test_projectability_and_slopes(panel):
    safety = pd.concat([ratio.safety(panel, m, draws=100) for m in "SJ"], ignore_index=True)
    moved = persona.persona(simulate.contrasts(strength=0.2, noise=1.0))
    summary = persona.summary(safety, None, moved, "choice")
    fig = draw_projectability.projectability(summary)
    undefined = [t for t in texts(fig) if "undefined" in t]
    assert len(undefined) == summary["estimate"].isna().sum()
    ranks = compare.ranks(panel, "S", draws=100)
    fig = draw_projectability.slopes(ranks)
    assert len(fig.axes) == ranks["scope"].nunique()
    assert any("τ" in t for t in texts(fig))
