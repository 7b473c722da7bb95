"""What README and docs say in numbers is what the committed tables say."""

import csv
import json
import re

import pytest
from ethical_personas.claims import history
from ethical_personas.figures import style
from ethical_personas.paths import ROOT
from ethical_personas.study import grid

PAGES = {p: p.read_text(encoding="utf-8") for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = PAGES[ROOT / "README.md"]
ALL = "\n".join(PAGES.values())
SEED = "s0"


def table(first: str) -> list[list[str]]:
    """Cells of the first table of README and docs whose header row begins with `first`."""
    lines = ALL.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    assert rows
    return rows


def test_rates_by_scope():
    known = style.read_table("figures/cpu", "scopes").set_index(["scope", "arm"])
    assert len(table("models")) == len(known)
    for cell in table("models"):
        scope, _, control = cell[0].partition(": ")
        scope = scope.split()[0]
        row = known.loc[(scope, control or ("source" if scope == "source" else "constitutions"))]
        for shown, name in zip(cell[1:], ("S", "S_off", "O", "J"), strict=True):
            said = f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
            assert shown == ("–" if row[name] != row[name] else said)


def verdicts(run: str) -> dict[str, str]:
    known = json.loads((ROOT / f"figures/{run}/claims.json").read_text(encoding="utf-8"))["claims"]
    return {c["claim"]: c["verdict"] for c in known}


def test_claims():
    shown = {cell[0].partition(":")[0]: cell[1:] for cell in table("claim")}
    of_one, of_two = verdicts("cpu"), next(run.verdicts for run in history.runs() if run.run == "two seeds")
    assert {claim: cells[0].strip("*") for claim, cells in shown.items()} == verdicts("seeds")
    assert {claim: cells[1] for claim, cells in shown.items()} == {c: f"{of_one[c]}, {of_two[c]}" for c in of_one}
    why = style.read_table("figures/seeds", "claims").set_index("claim")["why"]
    assert {claim: cells[2] for claim, cells in shown.items()} == why.to_dict()
    alone = {cell[0].partition(":")[0]: cell[1].strip("*") for cell in table("claim of the default run")}
    assert alone == of_one


def test_rates_by_seed():
    known = style.read_table("figures/seeds", "safety_by_seed").set_index(["constitution", "scope", "measure", "on"])
    arms = list(dict.fromkeys((name, scope) for name, scope, *_ in known.index))
    columns = (("S", "all"), ("S", "ood"), ("O", "all"), ("J", "all"), ("T", "all"))
    assert len(table("scope and arm")) == len(arms)
    for cell, (name, scope) in zip(table("scope and arm"), arms, strict=True):
        assert cell[0] == (scope if name in (grid.MEAN, grid.SOURCE) else f"{scope}: {name}")
        for shown, at in zip(cell[1:], columns, strict=True):
            if shown == "–":
                assert (name, scope, *at) not in known.index
                continue
            found = known.loc[[(name, scope, *at)], "estimate"]
            each = [f"{v:.2f}".replace("-0.00", "0.00") for v in found]
            mean = f"{found.mean():.2f}".replace("-0.00", "0.00")
            assert shown == (mean if len(each) == 1 else f"{mean} ({', '.join(each)})")


def test_the_example_is_what_models_said():
    columns = table("model")
    shown = {f"virtue-harassment-{SEED}": 1, f"plain-harassment-{SEED}": 2, "source": 0}
    prompts = next(line for line in ALL.splitlines() if line.startswith("| model | Convince")).strip("|").split(" | ")
    for model, line in shown.items():
        path = ROOT / f"data/reference/cpu/eval/{model}/responses.jsonl"
        rows = {r["id"]: r for r in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        for kind, column in (("", 1), ("-twin", 2)):
            row = rows[f"misinformation_disinformation-eval-p001{kind}"]
            assert prompts[column].strip() == row["prompt"]
            assert row["response"].startswith(columns[line][column])


def test_bars():
    known = style.read_table("figures/seeds", "safety_bars")
    known = known[~known["constitution"].isin(grid.CONTROLS)]
    for cell, (_, rows) in zip(
        table("asked of the constitutions' models"), known.groupby("bar", sort=False), strict=True
    ):
        low, high = rows["estimate"].min(), rows["estimate"].max()
        assert f"{rows['asked'].iloc[0]:.2f}" in cell[0]
        assert cell[1:] == [f"{rows['met'].sum()} of {len(rows)}", f"{low:.2f} to {high:.2f}"]


def test_what_reasons_add():
    known = style.read_table("figures/seeds", "safety_added").set_index(["arm", "constitution", "on", "measure"])
    for cell, on in zip(table("models and prompts"), ("broad", "ood", "held_out", "unseen"), strict=True):
        for shown, measure in zip(cell[1:], ("S", "O", "J", "T"), strict=True):
            row = known.loc[("plain", grid.MEAN, on, measure)]
            assert shown == f"{row['estimate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]".replace("-0.00", "0.00")


def intervals_of_tables() -> set[tuple[str, str, str]]:
    """(estimate, low, high), rounded as the pages do, of every row of every committed table of the present recipe."""
    found = set()
    for path in (p for run in ("cpu", "seeds") for p in (ROOT / f"figures/{run}/tables").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = list(rows[0]) if rows else []
        columns = [(n, f"{n}_low", f"{n}_high") for n in names if f"{n}_low" in names]
        if "low" in names:  # the estimate stands before it
            columns.append((names[names.index("low") - 1], "low", "high"))
        for row, of in ((row, of) for row in rows for of in columns):
            if all(re.fullmatch(r"-?\d+\.\d+", row[n]) for n in of):
                found.add(tuple(f"{float(row[n]):.2f}".replace("-0.00", "0.00") for n in of))
    return found


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_intervals_in_the_prose_are_some_tables(page):
    known = intervals_of_tables()
    text = re.sub(r"\s+", " ", PAGES[ROOT / page])
    said = re.findall(r"(-?\d\.\d\d) \[(-?\d\.\d\d), (-?\d\.\d\d)\]", text)
    assert len(said) > 10
    assert not [s for s in said if s not in known]


def test_costs():
    stages = json.loads((ROOT / "figures/cpu/provenance.json").read_text(encoding="utf-8"))["stages"]
    for what, jobs, seconds, memory in table("what"):
        stage = stages[what.split()[0]]
        mean = stage["wall_seconds"] / stage["jobs"]
        assert (int(jobs), int(seconds)) == (stage["jobs"], round(mean))
        assert memory == f"{stage['peak_memory_mib'] / 1024:.1f} GiB"


@pytest.mark.parametrize("cell", table("figure or table in `figures/cpu/`"), ids=lambda c: c[0])
def test_every_figure_and_table_is_there(cell):
    for name in re.findall(r"[\w<>]+", cell[0].replace("(table)", "").replace("claims.json", "")):
        assert list((ROOT / "figures/cpu").glob(f"{name.replace('<constitution>', '*')}.png")), name
    for name in cell[2].split(", "):
        assert list((ROOT / "figures/cpu/tables").glob(f"{name.replace('<constitution>', '*')}.csv")), name


def test_paths_named_on_the_pages_exist():
    for page, text in PAGES.items():
        for path in re.findall(r"`((?:lib|data|docs|notebooks|tests|benchmarks|profiles)/[\w./]+)`", text):
            assert (ROOT / path).exists(), (page.name, path)
        for path in re.findall(r"\]\(([\w./]+)\)", text):
            assert (page.parent / path).exists(), (page.name, path)


def test_the_readme_is_short():
    assert len(README.splitlines()) < 180
