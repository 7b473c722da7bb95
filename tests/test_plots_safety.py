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
from matplotlib.collections import LineCollection
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
    frames = [r for r in fig.findobj(Rectangle) if r.get_edgecolor()[:2] == mpl.colors.to_rgb("#E69F00")[:2]]
    lines = [c for ax in fig.axes for c in ax.collections if isinstance(c, LineCollection)]
    assert len(lines) == rates["estimate"].notna().sum()  # each number has its interval
    narrow = [m for m in gains.models(panel) if m[1] != "broad"]
    assert len(frames) == len(narrow)


def test_scope_labels_keep_clear_of_names(panel):
    for fig in (draw.heatmap(gains.rates(panel)), draw.forest(gains.table(panel))):
        fig.canvas.draw()
        first = [ax for ax in fig.axes if ax.get_subplotspec().is_first_col()]
        assert {ax.get_ylabel() for ax in first} - {""} == {scope for _, scope in gains.models(panel)}
        for ax in first:
            names = min(t.get_window_extent().x0 for t in ax.get_yticklabels())
            assert not ax.get_ylabel() or ax.yaxis.label.get_window_extent().x1 <= names + 1


def test_forest_corners_and_transfer(panel):
    fig = draw.forest(gains.table(panel))
    assert any(t.startswith("n = ") and "seed" in t for t in texts(fig))
    printed = texts(draw.corners(gains.overall(panel)))
    assert {"helpful-only", "refuses all", "ideal"} <= set(printed)
    matrix = gains.transfer(panel)
    assert len([t for t in texts(draw.transfer(matrix)) if "[" in t]) == len(matrix)


def test_dose_draws_what_was_measured_and_a_dotted_guide(panel):
    frame = simulate.frame(constitutions=("deontology",), scopes=("harassment",), per_category=2)
    source, tuned = frame[frame["model"] == "source"], frame[frame["model"] != "source"]
    steps = [tuned.assign(model=f"deontology-harassment-s0@{step}") for step in (6, 30)]
    table = gains.dose(pd.concat([source, *steps]))
    fig = draw.dose(table, gains.table(panel))
    assert len(fig.axes) == 3
    for ax, measure in zip(fig.axes, "SOJ", strict=True):
        part = table[table["measure"] == measure]
        (guide,) = (line for line in ax.lines if line.get_gid() == "guide")
        assert guide.get_linestyle() == ":" and list(guide.get_xdata()) == [0, 6, 30]
        assert list(guide.get_ydata()) == [0, *part["estimate"]]
        points = [p for c in ax.collections if not isinstance(c, LineCollection) for p in c.get_offsets().tolist()]
        assert [6, part["estimate"].iloc[0]] in points and {x for x, _ in points} == {6, 30}
        bars = [seg.tolist() for c in ax.collections if isinstance(c, LineCollection) for seg in c.get_segments()]
        assert sorted(bars) == [[[r.step, r.low], [r.step, r.high]] for r in part.itertuples()]


def test_projectability_and_slopes(panel):
    safety = pd.concat([ratio.safety(panel, m, draws=100) for m in "SJ"], ignore_index=True)
    contrasts = simulate.contrasts(strength=0.2, noise=1.0)
    lone = (contrasts["constitution"] == "virtue") & (contrasts["scope"] == "broad")
    summary = persona.summary(safety, None, persona.persona(contrasts[~lone]), "pairs")
    moved = summary[summary["measure"] == "pP"]
    assert moved["estimate"].isna().sum() == 2 == moved["reason"].str.contains("no broad model").sum()
    assert moved["others"].notna().sum() == 6 and moved["noise_free"].isna().any() and moved["noise_free"].notna().any()
    fig = draw_projectability.projectability(summary)
    undefined = [t for t in texts(fig) if "undefined" in t]
    assert len(undefined) == summary["estimate"].isna().sum()
    assert {"pP with other constitutions", "pP free of noise, where defined"} < set(texts(fig))
    alone = draw_projectability.projectability(summary[summary["measure"] != "pP"])
    assert not any("pP with" in t for t in texts(alone))
    ranks = compare.ranks(panel, "S", draws=100)
    fig = draw_projectability.slopes(ranks, len(panel))
    assert len(fig.axes) == ranks["scope"].nunique()
    assert any("τ" in t for t in texts(fig))
