"""A figure and its numbers on disk: four files, the same bytes each time, one colour a constitution."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from ethical_personas.figures import style
from ethical_personas.study import grid, materials

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
