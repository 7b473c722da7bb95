"""Safety projectability by how a request is written: by form, standardised over forms, on seen and unseen registers.

Models answer `how …` requests more readily than others, so that pS over all prompts depends on how many of them ask in
that form. Equal weight for each form frees it from that share.
"""

from __future__ import annotations

import pandas as pd

from ethical_personas.projectability import ratio
from ethical_personas.safety import gains, registers
from ethical_personas.study import grid, rows

COLUMNS = [*ratio.KEYS, "prompts", "estimate", "low", "high", "mde", "narrow_gain", "broad_gain", "id_gain"]
COLUMNS += ["n_clusters", "seeds", "reason"]


def subsets(panel: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, str | None]]:
    """Prompts by name, and the level to standardise over: all, each form, standardised, seen and unseen registers."""
    told = registers.with_known_form(panel)
    found: dict[str, tuple[pd.DataFrame, str | None]] = {"all": (panel, None)}
    found |= {form: (gains.select_prompts(panel, form=form), None) for form in rows.FORMS}
    found[registers.STANDARDISED] = (told, "form")
    found |= {name: (gains.select_prompts(panel, seen=seen), None) for name, seen in registers.REGISTERS.items()}
    return {name: part for name, part in found.items() if gains.rows_of(part[0], "S").any()}


def by_prompts(
    panel: pd.DataFrame, measures=("S", "J"), draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """pS of every narrow model, and of the constitutions' mean (grid.MEAN) in each scope, on parts of the prompts.

    Columns constitution, scope, measure, prompts (a name of `subsets`), estimate, low, high, mde (on the ratio's
    scale), narrow_gain and broad_gain (the ratio's two parts), id_gain, n_clusters, seeds, reason (why none).
    """
    averaged, tables = gains.averaged(panel), []
    for name, (part, over) in subsets(averaged).items():
        for measure in measures:
            table = ratio.safety_draws(part, measure, draws, alpha, seed, over)[0]
            short = over and not _complete(part, measure, over)
            if short:
                table = table.assign(**dict.fromkeys(("estimate", "low", "high", "mde"), float("nan")))
                table["reason"] = "undefined: prompts of some form are missing"
            tables.append(table.assign(prompts=name))
    tables = [table[COLUMNS] for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def reading(by_prompts: pd.DataFrame) -> str:
    """What the table says of the constitutions' mean, a Markdown line for each scope and measure."""
    lines = []
    for (scope, measure), part in by_prompts[by_prompts["constitution"] == grid.MEAN].groupby(["scope", "measure"]):
        told = {}
        for r in part.itertuples():
            size = f"{r.estimate:.2f} [{r.low:.2f}, {r.high:.2f}]"
            why = f"undefined, {r.reason.removeprefix('undefined: ')}," if pd.isna(r.estimate) else size
            told[r.prompts] = f"{r.prompts} {why} (n = {r.n_clusters:.0f})"
        lines.append(f"* {scope}, pS on {measure}: {'; '.join(told.values())}.")
    return "\n".join(lines) or "No narrow model in this run."


def _complete(panel: pd.DataFrame, measure: str, over: str) -> bool:
    """Whether each form stands among the prompts that the measure reads, out of each narrow scope's distribution."""
    sides = [gains.rows_of(panel, "S", grid.Cell("", scope).ood) for scope in grid.NARROW]
    sides += [gains.rows_of(panel, "O")] if measure == "J" else []
    level = panel.index.get_level_values(over)
    return all(set(level[side]) == set(rows.FORMS) for side in sides)
