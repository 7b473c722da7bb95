"""Write the tables of benchmarks/README.md from the csv files beside it, and how a run grows from the shipped run.

    python benchmarks/table.py

Of each comparison the latest row is shown; rows made on one machine, with one set of versions, on one day share a
footer.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
from ethical_personas.paths import ROOT

HERE = Path(__file__).parent
UNITS = {"tokens_per_second": "tokens/s", "peak_mib": "peak MiB"}
MADE = ["machine", "instruction_set", "threads", "versions", "date"]  # where, with what and when a row was measured
AIMS = {"scores": 2}  # ratio aimed at, by the first word of a step


def results(page: pd.DataFrame) -> str:
    """One line a comparison, in groups that were measured together."""
    found = page.drop_duplicates(["step", "ours", "against"], keep="last")
    both = {name: found[f"ours_{name}"].astype(str) + " / " + found[f"against_{name}"].astype(str) for name in UNITS}
    table = found[["step", "ours", "against", "ratio"]].assign(
        spread=[spread(row) for _, row in found.iterrows()],
        aim=[aim(row) for _, row in found.iterrows()],
        **{UNITS[name]: values for name, values in both.items()},
        load=found["load"],
        agreement=found["agreement"],
    )
    return together(table, found)


def spread(row: pd.Series) -> str:
    """Smallest and largest ratio of the pairs: with two pairs, both of them."""
    if len(str(row["ours_seconds"]).split()) == 1:
        return "one pair"
    return f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"


def aim(row: pd.Series) -> str:
    """What is aimed at, where something is, and whether every pair reached it."""
    wanted = next((ratio for word, ratio in AIMS.items() if row["step"].startswith(word)), None)
    if wanted is None:
        return "–"
    return f"{wanted}: " + ("reached" if row["ratio_low"] >= wanted else "not reached")


def ceilings(page: pd.DataFrame) -> str:
    """One line a measurement."""
    return together(page[["what", "which", "value", "unit"]], page)


def time(page: pd.DataFrame) -> str:
    """Seconds of each step, and the share of each kind of operation in them."""
    kinds = [name for name in page.columns if name not in {"step", "way", "when", "load", *MADE}]
    total = page[kinds].sum(axis=1)
    shares = page[kinds].div(total, axis=0).map("{:.0%}".format)
    table = page[["step"]].assign(form=page["when"] + ": " + page["way"], seconds=total.round(2))
    return together(table.join(shares), page)


def together(table: pd.DataFrame, made: pd.DataFrame) -> str:
    """A table for the rows of each machine, set of versions and day, that said below it."""
    pieces = []
    for where, part in made.groupby([made[name].astype(str) for name in MADE], sort=False):
        machine, instruction_set, threads, versions, date = where
        footer = f"{machine}, {instruction_set}, threads a process: {threads}, {date}; {versions}."
        pieces.append(f"{written(table.loc[part.index])}\n\n{footer}\n")
    return "\n".join(pieces)


def written(table: pd.DataFrame) -> str:
    """A table in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def growth(record: dict) -> str:
    """What a run costs by number of cells and seeds, from the jobs of a finished one."""
    stages, made = record["stages"], record["parameters"]
    each = {name: stage["wall_seconds"] / stage["jobs"] for name, stage in stages.items()}
    cells, seeds = stages["02_finetune"]["jobs"], len(made["seeds"])
    constant = sum(s["wall_seconds"] for name, s in stages.items() if name.startswith("01_")) + each["03_evaluate"]
    cell = each["02_finetune"] + each["03_evaluate"]
    seed = cells // seeds
    return (
        f"A run's own (01 and the source's evaluation) {constant:.0f} s, and for each cell {cell:.0f} s: a training of "
        f"{each['02_finetune']:.0f} s and an evaluation of {each['03_evaluate']:.0f} s, means of "
        f"{cells} and {stages['03_evaluate']['jobs']} jobs. A seed has {seed} cells, so {seed} x {cell:.0f} s = "
        f"{seed * cell / 3600:.1f} hours of one core or {seed * cell / 7200:.1f} of two; n seeds take n times that and "
        f"the constant once. Commit {record['commit'][:12]}, "
        f"{record['machine']['processor']}, {record['machine']['cores']} cores, two jobs side by side.\n"
    )


def tables() -> dict[str, str]:
    """What stands between each pair of marks on the page."""
    read = {name: pd.read_csv(HERE / f"{name}.csv") for name in ("results", "ceilings", "time")}
    run = json.loads((ROOT / "figures/cpu/provenance.json").read_text(encoding="utf-8"))
    return {
        "results": results(read["results"]),
        "ceilings": ceilings(read["ceilings"]),
        "time": time(read["time"]),
        "growth": growth(run),
    }


def placed(text: str, found: dict[str, str]) -> str:
    """The page with each text between its marks; raises ValueError where a page lacks them."""
    for name, table in found.items():
        mark = f"<!-- {name} -->\n"
        if text.count(mark) != 2:
            raise ValueError(f"README.md: {mark.strip()} must stand before and after its table")
        text = re.sub(f"{mark}.*?{mark}", lambda _, m=mark, t=table: m + t + m, text, flags=re.S)
    return text


if __name__ == "__main__":
    page = HERE / "README.md"
    page.write_text(placed(page.read_text(encoding="utf-8"), tables()), encoding="utf-8")
