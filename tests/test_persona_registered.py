"""The registered score, the pooled tests, replication and the lexical control: planted and null."""

import numpy as np
import pandas as pd
import pytest
import simulate
from ethical_personas.persona import lens_shifts, registered
from ethical_personas.study import grid, materials


def shifts_of(score) -> pd.DataFrame:
    """Item shifts of the choice lens: score(constitution, scope, item), the source at 1."""
    found = []
    for cell in grid.cells(grid.CONSTITUTIONS, grid.SCOPES, [0]):
        for item in materials.items():
            shift = float(score(cell.constitution, cell.scope, item))
            key = (cell.name, cell.constitution, cell.scope, 0, "choice", item.id, item.dimension, item.keyed)
            found.append((*key, "agree", 1.0 + shift, shift, item.keyed * shift))
    columns = ["model", "constitution", "scope", "seed", "lens", "id", "dimension", "keyed", "wording"]
    return pd.DataFrame(found, columns=[*columns, "value", "shift", "signed"])


def by_the_signs(size=0.5, zero=0.1, agrees=3.0):
    signatures = materials.signatures()
    return lambda c, _, item: agrees + item.keyed * (size * signatures[c][item.dimension] or zero)


def test_the_tally_counts_signed_cells_of_all_models_and_the_smallness_of_the_others():
    cells = registered.cells(shifts_of(by_the_signs()))
    row = cells[(cells["constitution"] == "virtue") & (cells["dimension"] == "impartiality")].iloc[0]
    # Mean of items keyed +1 minus mean of those keyed -1, agreement with everything cancelled.
    assert (row["sign"], row["source"], row["shift"], row["in_line"]) == (-1, 0.0, pytest.approx(-1.0), "yes")
    table = registered.tally(cells).set_index("constitution")
    assert table.loc["all", ["in_line", "of", "zeros_smaller"]].tolist() == [81, 81, 4]
    assert table.loc["all", "p"] == pytest.approx(1 / 24) and table.loc["all", "chance"] < 60
    assert table["of"].drop("all").to_dict() == {
        "deontology": 21, "consequentialism": 27, "virtue": 18, "subordinate": 15,
    }  # fmt: skip
    assert registered.tally(registered.cells(shifts_of(by_the_signs(zero=2.0)))).iloc[-1]["zeros_smaller"] == 0


def test_a_shift_that_all_constitutions_share_tells_no_signature_from_another():
    table = registered.tally(registered.cells(shifts_of(lambda c, s, item: item.keyed))).iloc[-1]
    assert (table["in_line"], table["of"]) == (
        sum(s > 0 for v in materials.signatures().values() for s in v.values()) * 3,
        81,
    )
    assert table["chance"] == table["in_line"] and table["p"] == 1.0


def test_a_shift_of_nothing_is_not_in_line():
    assert registered.tally(registered.cells(shifts_of(lambda *_: 0.0))).iloc[-1]["in_line"] == 0


def test_one_key_is_a_difference_already():
    raw = shifts_of(by_the_signs())
    raw = raw[raw["keyed"] == 1].assign(lens="pairs")
    cells = registered.cells(raw.assign(shift=raw["shift"] - 3.0))
    assert cells.loc[cells["sign"] == 1, "shift"].to_numpy() == pytest.approx(0.5)


def test_pooled_tests_find_what_was_planted_and_only_that():
    table = registered.pooled(simulate.contrasts(strength=0.3), shuffles=999).iloc[0]
    assert table["cosine"] > 0.8 and table["p_dimensions"] <= 0.002 and table["low"] > 0
    assert table["p_constitutions"] == pytest.approx(1 / 24) and table["models"] == 12
    assert table["alignment"] == pytest.approx(0.3, abs=0.15)
    p = pd.concat([registered.pooled(simulate.contrasts(strength=0, seed=s), shuffles=199) for s in range(40)])
    for name in ("p", "p_dimensions", "p_constitutions"):
        assert (p[name] < 0.05).mean() <= 0.15 and 0.3 < p[name].mean() < 0.7, name


def test_pooled_alignment_does_not_see_who_agrees_with_everything():
    contrasts = simulate.contrasts(strength=0.3)
    more = contrasts["contrast"] + 2.0 * contrasts["keyed"] * (contrasts["constitution"] == "virtue")
    columns = ["alignment", "low", "high", "p"]
    one, other = (registered.pooled(t, shuffles=9)[columns] for t in (contrasts, contrasts.assign(contrast=more)))
    assert np.allclose(one, other)
    assert lens_shifts.without_acquiescence(contrasts)["contrast"].std() > 0.1
