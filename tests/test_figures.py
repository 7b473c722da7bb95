"""A figure and its numbers on disk: four files, the same bytes each time, one colour a constitution."""

import itertools
import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import simulate
from ethical_personas.figures import (
    capability,
    judge,
    persona,
    projectability,
    registers,
    safety,
    style,
    training,
    trust,
)
from ethical_personas.paths import ROOT
from ethical_personas.persona import replication
from ethical_personas.study import grid, materials
from matplotlib.collections import LineCollection

TABLE = pd.DataFrame(
    {
        "constitution": ["virtue", "care | kin\nfolk"],
        "n": [30, 1],
        "rate": [1 / 3, np.nan],
        "small": [1e-7, 12345.678901],
    }
)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "ROOT", tmp_path)
    style.use()
    yield tmp_path
    plt.close("all")


def drawn():
    fig, axes = plt.subplots(figsize=(style.COLUMN, 2))
    for n, name in enumerate(grid.CONSTITUTIONS):
        axes.plot([0, 1], [n, n + 1], color=style.colour(name), label=name)
        axes.fill_between([0, 1], [n, n + 1], [n + 1, n + 2], hatch="//")
    axes.legend()
    return fig


def test_a_figure_stands_beside_its_table(place):
    assert style.save(drawn(), TABLE, "figures/x", "name") is TABLE
    found = {str(p.relative_to(place / "figures/x")) for p in (place / "figures/x").rglob("*") if p.is_file()}
    assert found == {"name.svg", "name.png", "tables/name.csv", "tables/name.md"}
    assert (place / "figures/x/name.png").read_bytes().startswith(b"\x89PNG")
    assert "<text" in (place / "figures/x/name.svg").read_text()  # words stay words


def test_a_table_may_stand_alone(place):
    style.save(None, TABLE, "figures/x", "name")
    assert sorted(p.name for p in (place / "figures/x").rglob("*.*")) == ["name.csv", "name.md"]


def test_two_saves_are_the_same_bytes(place):
    for folder in ("a", "b"):
        style.save(drawn(), TABLE, folder, "name")
    for name in ("name.svg", "name.png", "tables/name.csv", "tables/name.md"):
        assert (place / "a" / name).read_bytes() == (place / "b" / name).read_bytes(), name


def test_the_csv_is_these_bytes(place):
    style.save(None, TABLE, "x", "name")
    wanted = b'constitution,n,rate,small\nvirtue,30,0.3333,0.0000\n"care | kin\nfolk",1,,12345.6789\n'
    assert (place / "x/tables/name.csv").read_bytes() == wanted
    back = style.read_table("x", "name")
    pd.testing.assert_frame_equal(back, TABLE, check_exact=False, atol=1e-4, check_dtype=False)


def test_the_markdown_is_a_table_of_as_many_rows():
    head, rule, *body = style.markdown(TABLE).splitlines()
    assert head == "| constitution | n | rate | small |" and rule == "|---|---|---|---|"
    assert body == ["| virtue | 30 | 0.333 | 0.000 |", "| care \\| kin folk | 1 | – | 12345.679 |"]


def test_colours_are_stable_and_apart():
    assert {c: style.colour(c) for c in (*grid.CONSTITUTIONS, grid.SOURCE)} == {
        "deontology": "#0072B2",
        "consequentialism": "#D55E00",
        "virtue": "#009E73",
        "subordinate": "#CC79A7",
        "source": "#555555",
    }
    assert style.colour("care") == style.colour("care")
    assert not set(style.EXTRA_COLOURS) & set(style.COLOURS.values())
    assert set(style.MARKERS) == {*grid.SCOPES, grid.SOURCE} and set(style.LABELS) == {*grid.CATEGORIES, *grid.HARMLESS}


def test_two_added_constitutions_have_two_colours(place, monkeypatch):
    monkeypatch.setattr(materials, "DATA", place)
    (place / "constitutions").mkdir()
    for name in (*grid.CONSTITUTIONS, "kantian", "stoic"):
        (place / f"constitutions/{name}.yaml").touch()
    assert style.colour("kantian") != style.colour("stoic")


RUN = "cpu"


def shipped(name):
    return pd.read_csv(ROOT / f"figures/{RUN}/tables/{name}.csv")


def with_controls(table):
    """The table with control arms and a user's constitution, each with the numbers of virtue."""
    if "constitution" not in table:
        return table
    virtue = table[table["constitution"] == "virtue"]
    table = table[~table["constitution"].isin(list(style.CONTROL_COLOURS))]
    return pd.concat([table, *(virtue.assign(constitution=c) for c in (*style.CONTROL_COLOURS, "care_ethics"))])


VOICES = pd.DataFrame(np.eye(4), pd.Index(grid.CONSTITUTIONS, name="constitution"), grid.CONSTITUTIONS)
STRUCK = (0, 25, 50, 100, 200, 400)
SHARES = np.linspace(0.95, 0.5, len(STRUCK))
READERS = pd.DataFrame({"reader": "revisions", "struck": STRUCK, "accuracy": SHARES - 0.1, "own_declined": SHARES})
READERS = READERS.assign(own_declined_low=SHARES - 0.05, own_declined_high=SHARES + 0.05, n_declined=96)
FIGURES = {
    "safety_heatmap": safety.heatmap,
    "safety_corners": safety.corners,
    "safety_gains": safety.forest,
    "safety_transfer": safety.transfer,
    "safety_dose": lambda table: safety.dose(table, shipped("safety_gains")),
    "judge_report": judge.report,
    "safety_registers": lambda table: registers.by_register(table, 4),
    "safety_by_seed": lambda table: registers.by_seed(table, 4),
    "safety_added": registers.added,
    "capability": capability.capability,
    "persona_profile": persona.profile,
    "persona_identification": lambda table: persona.confusion(table, shipped("persona_identification_tests"), VOICES),
    "persona_content": persona.content,
    "persona_c4": persona.c4,
    "persona_voice": lambda table: persona.voice(table, READERS, 0.25),
    "persona_ambiguity": lambda table: trust.plot_ambiguity(table, with_controls(shipped("persona_acquiescence"))),
    "persona_reliability": trust.reliability,
    "persona_dilemmas": trust.dilemmas,
    "projectability": projectability.projectability,
    "projectability_by_form": lambda table: registers.projectability(table[table["measure"] == "S"]),
    "projectability_ranks": lambda table: projectability.slopes(table, 258),
    "words_virtue": lambda table: training.plot_words(table, "virtue", 288),
}


def drawn_texts(fig):
    """Texts that are drawn: matplotlib keeps ticks beyond an axis's ends and does not draw them."""
    fig.canvas.draw()
    hidden = set()
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            hidden |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
            hidden |= {tick.label2 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    return [t for t in fig.findobj(plt.Text) if t.get_visible() and t.get_text().strip() and t not in hidden]


@pytest.mark.parametrize("change", [lambda table: table, with_controls], ids=["shipped", "controls"])
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cropped_too_wide_too_small_or_on_top_of_another(name, change):
    look_over(FIGURES[name](change(shipped(name))), name)


@pytest.mark.parametrize("name", FIGURES)
def test_several_seeds_are_as_legible_and_no_two_intervals_are_joined(name, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "RUN", "seeds")
    fig = FIGURES[name](shipped(name))
    look_over(fig, name)
    lines = [c for ax in fig.axes for c in ax.collections if isinstance(c, LineCollection)]
    assert all(len(segment) <= 2 for c in lines for segment in c.get_segments())  # none where the end is unknown


def test_replication_is_legible_with_all_lenses_and_seeds():
    contrasts = simulate.contrasts(seeds=(0, 1), lenses=grid.ITEM_LENSES)
    look_over(persona.replication(replication.replication(contrasts, draws=20)), "persona_replication")


def look_over(fig, name):
    """Assert that all texts of a figure are inside it, large enough and apart."""
    assert fig.get_figwidth() in (style.COLUMN, style.PAGE)
    texts = drawn_texts(fig)
    boxes = [t.get_window_extent() for t in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= fig.bbox.x1 and box.y1 <= fig.bbox.y1, text.get_text()
        assert text.get_fontsize() >= 6, text.get_text()
    # A turned text's box is larger than the text.
    level = [(t, b.padded(-1)) for t, b in zip(texts, boxes, strict=True) if t.get_rotation() in (0, 90)]
    touching = [(t.get_text(), u.get_text()) for (t, a), (u, b) in itertools.combinations(level, 2) if a.overlaps(b)]
    assert not touching
    counted = ("n = ", "n answers", "n prompts")
    assert any(words in text.get_text() for text in texts for words in counted) or name in WITHOUT_N


def test_the_voice_is_drawn_by_words_struck_out():
    figure = persona.voice(shipped("persona_voice"), READERS, 0.25)
    panel = figure.axes[-1]
    marks = next(line for line in panel.lines if line.get_marker() == "D")
    assert list(zip(*marks.get_data(), strict=True)) == list(zip(STRUCK, SHARES, strict=True))
    bars = sorted(tuple(segment[:, 1]) for segment in panel.collections[0].get_segments())
    assert np.array(bars) == pytest.approx(np.array(sorted(zip(SHARES - 0.05, SHARES + 0.05, strict=True))))
    assert [line.get_ydata()[0] for line in panel.lines if line.get_linestyle() == "--"] == [0.25]
    low, high = panel.get_ylim()
    assert low < 0 and high > 1


def test_a_run_without_narrow_models_says_why_a_panel_is_empty():
    nothing = READERS.assign(own_declined=np.nan, own_declined_low=np.nan, own_declined_high=np.nan, n_declined=0)
    figure = persona.voice(shipped("persona_voice"), nothing, 0.25)
    assert "no answer out of distribution declines" in {t.get_text() for t in drawn_texts(figure)}
    look_over(figure, "persona_voice")


WITHOUT_N = {"persona_identification", "words_virtue"}  # these say `3 of 12` and `288 revisions`


def test_control_arms_are_grey_and_last():
    greys = [style.colour(name) for name in ("plain", "shuffled", "harmless")]
    assert all(c[1:3] == c[3:5] == c[5:7] for c in greys) and len({*greys, style.colour(grid.SOURCE)}) == 4
    assert style.ordered(["plain", "care", "virtue", "deontology"]) == ["deontology", "virtue", "care", "plain"]


DRAW = """
import sys
import pandas as pd
from ethical_personas.figures import style, trust
style.use()
trust.dilemmas(pd.read_csv(sys.argv[1])).savefig(sys.argv[2])
"""


def test_a_users_matplotlibrc_changes_nothing(tmp_path):
    rc = tmp_path / "matplotlibrc"
    for name, text in {
        "plain": "",
        "odd": "text.usetex: True\nfont.family: fantasy\nbackend: qtagg\nsavefig.dpi: 30\nfigure.autolayout: True\n"
        "axes.prop_cycle: cycler('color', ['r'])\nlines.linewidth: 9\nsavefig.bbox: tight\n",
    }.items():
        rc.write_text(text)
        command = [sys.executable, "-c", DRAW, str(ROOT / "figures/cpu/tables/persona_dilemmas.csv")]
        environment = os.environ | {"MATPLOTLIBRC": str(rc), "MPLBACKEND": "agg"}
        subprocess.run([*command, str(tmp_path / f"{name}.png")], check=True, env=environment)
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "odd.png").read_bytes()


def test_ambiguity_stands_alone_where_no_lens_has_both_keys():
    look_over(
        trust.plot_ambiguity(shipped("persona_ambiguity"), shipped("persona_acquiescence").iloc[:0]),
        "persona_ambiguity",
    )
