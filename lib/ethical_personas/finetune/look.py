"""What notebook 02 shows of a cell: probes before and after, steps, tokens, cost."""

from __future__ import annotations

import pandas as pd

from ethical_personas.study import materials
from ethical_personas.study.brief import brief
from ethical_personas.study.grid import CATEGORIES, TRAINED
from ethical_personas.study.rows import Prompt, SftRow


def before_after(probes: list[Prompt], before: list, after: list) -> pd.DataFrame:
    """Openings of answers to the same requests before and after tuning."""
    return pd.DataFrame(
        {
            "request": [r.prompt for r in probes],
            "before": [brief(a.text) for a in before],
            "after": [brief(a.text) for a in after],
        }
    )


def probes(chosen: list[SftRow], number: int = 2) -> list[Prompt]:
    """Training-split requests for a before/after look: harmful ones this cell is not trained on, and a harmless one."""
    seen = {r.id for r in chosen}
    unseen = [p for p in materials.prompts("train", *CATEGORIES) if p.id not in seen]
    return unseen[:: max(1, len(unseen) // number)][:number] + materials.prompts("train", TRAINED[0])[-1:]


def cost(log: pd.DataFrame) -> pd.DataFrame:
    """One row: steps, tokens trained on (padding left out), seconds, tokens a second, last loss (mean of an eighth)."""
    tokens, seconds = int(log["tokens"].iloc[-1]), float(log["seconds"].iloc[-1])
    final = float(log["loss"].tail(max(1, len(log) // 8)).mean())
    return pd.DataFrame(
        [
            {
                "steps": len(log),
                "tokens": tokens,
                "train_seconds": round(seconds, 1),
                "tokens_per_second": tokens / seconds,
                "loss": final,
            }
        ]
    )
