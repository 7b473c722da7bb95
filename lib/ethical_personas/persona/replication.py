"""Does what sets a constitution apart repeat in another model of it? A fingerprint that repeats is not yet a persona.

    table = replication(contrasts)          contrasts: of persona.lens_shifts.averaged
    rows = narrow_with_broad(contrasts)     the same for each narrow model and its broad one, beside pP

An item profile is a model's contrasts, item by item and unsigned (agreement with the statement as it stands, so that
agreeing with everything drops out of a correlation). Two models of one constitution are set beside two of different
constitutions: `within` and `between` are mean correlations of their profiles over items.

kinds   disjoint     two scopes that share no harmful row
        scopes       any two scopes: the broad one shares rows with the narrow ones
        seeds        one scope, two seeds: the same rows
parts   items        profiles over items
        dimensions   over the means of dimensions, of which signatures speak
        beyond       over items, each dimension's mean taken out: no signature speaks of what is left

A profile that repeats on `items` and on `beyond` alike is a fingerprint that the registration did not foresee; whether
there is a part along the signatures is asked by registered.pooled.

Contrasts sum to 0 over the constitutions of a scope, so `between` is near -within / (constitutions - 1) by itself. The
test is therefore of labels: constitutions exchanged in one scope against another, over all arrangements, all seeds of
a constitution and scope together.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from ethical_personas import stats
from ethical_personas.persona import matching
from ethical_personas.stats import exact
from ethical_personas.study import grid

KINDS = ("disjoint", "scopes", "seeds")
PARTS = ("items", "dimensions", "beyond")
ALL = grid.MEAN  # of all constitutions
COLUMNS = ["lens", "kind", "part", "constitution", "within", "low", "high", "between", "between_low", "between_high"]
COLUMNS += ["p", "arrangements", "pairs", "n_items"]
REPEATS = ["repeats", "repeats_low", "repeats_high", "repeats_others"]
MOST = 20_000  # arrangements above which they are sampled


def replication(contrasts: pd.DataFrame, draws: int = 1000, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Columns COLUMNS: a row for each lens, kind, part and constitution, and one for all with the test.

    low, high, between_low, between_high: percentile bootstrap over items within dimension and keying; none for
    `dimensions`, whose means would share the resampled items. p: one-sided, the
    share of `arrangements` of labels with as high a `within`. pairs: of scopes, or of seeds. The compared constitutions
    alone, those with a model in every scope and seed of the run; kinds that the run has no pair for have no row.
    """
    contrasts = contrasts[contrasts["constitution"].isin(grid.compared(contrasts["constitution"].unique()))]
    records = []
    for lens, part in contrasts.groupby("lens", sort=False):
        wide, names, blocks = _complete(_wide(part))
        if len(names) < 2:
            continue
        for name in PARTS:
            records += _of_part(lens, name, wide, names, blocks, draws, alpha, seed)
    return pd.DataFrame(records, columns=COLUMNS)


def _wide(part: pd.DataFrame) -> pd.DataFrame:
    """Contrasts of one lens: rows (dimension, keyed, id), columns (constitution, scope, seed)."""
    rows, columns = ["dimension", "keyed", "id"], ["constitution", "scope", "seed"]
    return part.pivot(index=rows, columns=columns, values="contrast").dropna()


def _complete(wide: pd.DataFrame) -> tuple[pd.DataFrame, list[str], list[tuple[str, int]]]:
    """The models of constitutions that every (scope, seed) of the run has, their names, and those blocks."""
    order = list(grid.SCOPES)
    blocks = sorted({(scope, seed) for _, scope, seed in wide.columns}, key=lambda b: (order.index(b[0]), b[1]))
    names = [c for c in grid.ordered(wide.columns.unique(0)) if all((c, *b) in wide.columns for b in blocks)]
    return wide[[(c, *b) for b in blocks for c in names]], names, blocks


def _of_part(lens, part, wide, names, blocks, draws, alpha, seed) -> list[dict]:
    """Rows of one lens and part, all kinds."""
    observed, drawn = correlations(wide, part, draws, seed)
    size, records = len(names), []

    def square(table: np.ndarray, a: int, b: int) -> np.ndarray:
        """Correlations of the constitutions' profiles in block a with those in block b, (..., names, names)."""
        return table[..., a * size : (a + 1) * size, b * size : (b + 1) * size]

    for kind in KINDS:
        pairs = _pairs(kind, blocks)
        if not pairs:
            continue
        # One square a pair of units (scopes, or seeds of a scope): mean over the pairs of blocks that belong to it.
        squares = {p: np.mean([square(observed, a, b) for a, b in found], axis=0) for p, found in pairs.items()}
        mean = np.mean(list(squares.values()), axis=0)
        spread = np.mean([np.mean([square(drawn, a, b) for a, b in f], axis=0) for f in pairs.values()], axis=0)
        p, arrangements = _exchanged(squares, seed)
        about = {"lens": lens, "kind": kind, "part": part, "pairs": len(pairs), "n_items": len(wide)}
        for k, name in enumerate([*names, ALL]):
            own = np.eye(size, dtype=bool) if name == ALL else np.zeros((size, size), bool)
            others = ~np.eye(size, dtype=bool)
            if name != ALL:
                own[k, k] = True
                others = others & (np.add.outer(np.arange(size) == k, np.arange(size) == k))
            row = about | {"constitution": name, "within": mean[own].mean(), "between": mean[others].mean()}
            if part != "dimensions":
                row["low"], row["high"] = stats.interval(spread[:, own].mean(1), alpha)
                row["between_low"], row["between_high"] = stats.interval(spread[:, others].mean(1), alpha)
            records.append(row | ({"p": p, "arrangements": arrangements} if name == ALL else {}))
    return records


def correlations(wide: pd.DataFrame, part: str, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of all models' profiles, (models, models), and the same in bootstrap draws over items.

    Args:
        wide: Signed contrasts, rows (dimension, keyed, id), columns (constitution, scope, seed).
        part: One of PARTS.
        draws, seed: Of the bootstrap.
    """
    dimension, keyed = (wide.index.get_level_values(n).to_numpy() for n in ("dimension", "keyed"))
    resampler = stats.Resampler(matching.strata(dimension, keyed), draws, seed)
    weights = np.vstack([np.ones(len(wide)), resampler.weights])
    values = wide.to_numpy(float)
    if part == "dimensions":
        inside = (np.unique(dimension)[:, None] == dimension).astype(float)
        means = [(weights * row) @ values / (weights @ row)[:, None] for row in inside]
        profiles = np.stack(means, axis=1)  # (draws, dimensions, models)
        profiles = profiles - profiles.mean(1, keepdims=True)
        products = np.einsum("wim,win->wmn", profiles, profiles)
    else:
        if part == "beyond":
            values = values - wide.groupby(level="dimension").transform("mean").to_numpy()
        values = values * keyed[:, None]
        total = weights.sum(1)[:, None]
        means = weights @ values / total
        crossed = (values[:, :, None] * values[:, None, :]).reshape(len(values), -1)
        products = (weights @ crossed / total).reshape(len(weights), *2 * [values.shape[1]])
        products = products - means[:, :, None] * means[:, None, :]
    length = np.sqrt(np.clip(np.einsum("wmm->wm", products), 0, None))
    scale = length[:, :, None] * length[:, None, :]
    found = np.divide(products, scale, out=np.zeros_like(products), where=scale > 1e-12)
    return found[0], found[1:]


def _pairs(kind: str, blocks: list[tuple[str, int]]) -> dict[tuple, list[tuple[int, int]]]:
    """Pairs of units that a kind compares, each with the pairs of blocks that belong to it."""
    found: dict[tuple, list] = {}
    for (a, first), (b, second) in itertools.combinations(enumerate(blocks), 2):
        apart = not set(grid.SCOPES[first[0]]) & set(grid.SCOPES[second[0]])
        if kind == "seeds" and first[0] == second[0]:
            found.setdefault((first, second), []).append((a, b))
        elif kind != "seeds" and first[0] != second[0] and (apart or kind == "scopes"):
            found.setdefault((first[0], second[0]), []).append((a, b))
    return found


def _exchanged(squares: dict[tuple, np.ndarray], seed: int) -> tuple[float, int]:
    """One-sided p of the mean diagonal over all exchanges of labels, unit by unit, and the number of exchanges."""
    orders = exact.permutations(len(next(iter(squares.values()))))
    units = list(dict.fromkeys(unit for pair in squares for unit in pair))
    # Only the labels of one unit against another's count: the first unit keeps its own.
    free = [u for u in units if u != units[0]]
    number = len(orders) ** len(free)
    if number <= MOST:
        chosen = np.array(list(itertools.product(range(len(orders)), repeat=len(free)))).reshape(number, len(free))
    else:
        chosen = np.random.default_rng(seed).integers(len(orders), size=(MOST, len(free)))
        chosen[0] = 0  # the observed labels
    order = {units[0]: np.zeros(len(chosen), int)} | {u: chosen[:, i] for i, u in enumerate(free)}
    sums = np.zeros(len(chosen))
    for (a, b), square in squares.items():
        sums += square[orders[order[a]], orders[order[b]]].mean(1)
    return float(np.mean(sums >= sums[0] - 1e-12)), len(chosen)


def with_broad(
    contrasts: pd.DataFrame, draws: int = 1000, seed: int = 0
) -> tuple[pd.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """Correlation over items of every narrow model's profile with those of the broad models.

    Args:
        contrasts: Of one lens.
        draws, seed: Of the bootstrap over items.

    Returns:
        Columns constitution, scope, seed, own (with its constitution's broad model, NaN where a profile is flat),
        others (with those of the other compared constitutions); seeds of broad are averaged, and a narrow model whose
        constitution has no broad one has no row. Joint draws of `own`, its seeds averaged, by (constitution, scope).
    """
    wide = _wide(contrasts)
    observed, drawn = correlations(wide, "items", draws, seed)
    flat = np.diag(observed) == 0
    observed[flat], observed[:, flat] = np.nan, np.nan
    about = wide.columns.to_frame(index=False)
    shared, broad = grid.compared(about["constitution"].unique()), about["scope"] == grid.BROAD
    records, of_models = [], {}
    for (constitution, scope), part in about[about["scope"].isin(grid.NARROW)].groupby(["constitution", "scope"]):
        own = (broad & (about["constitution"] == constitution)).to_numpy()
        others = (broad & about["constitution"].isin([c for c in shared if c != constitution])).to_numpy()
        if not own.any():
            continue
        for i, cell in part.iterrows():
            row = {"own": observed[i, own].mean(), "others": observed[i, others].mean() if others.any() else np.nan}
            records.append({"constitution": constitution, "scope": scope, "seed": cell["seed"], **row})
        if not np.isnan(observed[np.ix_(part.index, own)]).any():
            of_models[constitution, scope] = drawn[:, part.index][:, :, own].mean((1, 2))
    return pd.DataFrame(records, columns=["constitution", "scope", "seed", "own", "others"]), of_models


def narrow_with_broad(contrasts: pd.DataFrame, draws: int = 1000, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """How far a narrow model's item profile repeats that of its constitution's broad model; defined wherever both are.

    Args:
        contrasts: Of one lens.

    Returns:
        Columns constitution, scope, repeats (correlation over items, mean over seeds), repeats_low, repeats_high
        (bootstrap over items), repeats_others (the mean with the broad models of the other compared constitutions).
    """
    table, drawn = with_broad(contrasts, draws, seed)
    records = []
    for model, part in table.groupby(["constitution", "scope"]):
        ends = stats.interval(drawn[model], alpha) if model in drawn else (np.nan, np.nan)
        values = (*model, part["own"].mean(skipna=False), *ends, part["others"].mean())
        records.append(dict(zip(("constitution", "scope", *REPEATS), values, strict=True)))
    return pd.DataFrame(records, columns=["constitution", "scope", *REPEATS])
