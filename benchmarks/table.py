"""Write the tables of benchmarks/README.md from results.csv and ceilings.csv: the latest row of each comparison.

python benchmarks/table.py
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent


def results() -> str:
    """One line a comparison."""
    found = pd.read_csv(HERE / "results.csv").drop_duplicates(["step", "ours", "against"], keep="last")
    spread = found["ratio_low"].map("{:.2f}".format) + " to " + found["ratio_high"].map("{:.2f}".format)
    both = {name: found[f"ours_{name}"].astype(str) + " / " + found[f"against_{name}"].astype(str) for name in UNITS}
    table = found[["step", "ours", "against", "ratio"]].assign(
        spread=spread, **{UNITS[name]: values for name, values in both.items()}, load=found["load"]
    )
    where = found.iloc[-1]
    return (
        f"{written(table.assign(agreement=found['agreement']))}\n\n{where['machine']}, {where['instruction_set']}, "
        f"{where['threads']} thread, {where['date']}; {where['versions']}.\n"
    )


UNITS = {"tokens_per_second": "tokens/s", "peak_mib": "peak MiB"}


def ceilings() -> str:
    """One line a measurement."""
    return written(pd.read_csv(HERE / "ceilings.csv")[["what", "which", "value", "unit"]]) + "\n"


def written(table: pd.DataFrame) -> str:
    """A table in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    page = HERE / "README.md"
    text = page.read_text(encoding="utf-8")
    for name, table in (("results", results()), ("ceilings", ceilings())):
        mark = f"<!-- {name} -->\n"
        text = re.sub(f"{mark}.*?{mark}", lambda _, m=mark, t=table: m + t + m, text, flags=re.S)
    page.write_text(text, encoding="utf-8")
