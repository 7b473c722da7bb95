"""Each training seed apart: would another training say the same?

table(gains.panel(judged.safety(...)))
"""

from __future__ import annotations

import pandas as pd

from ethical_personas.safety import gains, registers
from ethical_personas.study import grid


def table(panel: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """The rates of each seed apart: of each scope, constitutions averaged, and of its control arms; the source first.

    panel: Of gains.panel, without means.

    Returns:
        Columns seed (of the source, which is not trained: `source`), constitution, scope, measure, on (`all` prompts;
        `ood`: harmful ones, and pairs, of categories absent from a narrow model's rows, beside all harmless ones;
        `unseen` registers), estimate, low, high (over prompts: each model was trained once), n_clusters.
    """
    seeds = sorted({seed for name, _, seed in panel.columns if name != grid.SOURCE})
    records = []
    for seed in seeds:
        part = gains.averaged(panel.loc[:, [name == grid.SOURCE or s == seed for name, _, s in panel.columns]])
        for name, scope in gains.models(part, source=seed == seeds[0]):
            if name not in (grid.SOURCE, grid.MEAN, *grid.CONTROLS):
                continue
            about = {"seed": grid.SOURCE if name == grid.SOURCE else str(seed), "constitution": name, "scope": scope}
            places = {"all": part, "unseen": gains.select_prompts(part, seen=False)}
            if scope in grid.NARROW:
                places["ood"] = part[gains.rows_of(part, "J", grid.Cell("", scope).ood)]
            for on, prompts in places.items():
                if len(prompts):
                    records += [about | {"on": on} | row for row in registers.rates(prompts, name, scope, alpha)]
    columns = ["seed", "constitution", "scope", "measure", "on", "estimate", "low", "high", "n_clusters"]
    return pd.DataFrame(records, columns=columns)
