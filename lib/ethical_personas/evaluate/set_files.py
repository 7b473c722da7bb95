"""Evaluation sets in the files of public benchmarks, asked beside the bundled prompts.

    sets = set_files.read_all(["harmbench:sets/behaviours.csv", "xstest:hf:<owner>/<data set>@<revision>/<path>"])

A file's name, without its ending, names its set in rows and tables. Nothing of a set is shipped with this project.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import hub
from ethical_personas.paths import ROOT
from ethical_personas.study import rows


class EvalSet(NamedTuple):
    """The prompts of one file, and how many of its rows were left out, by reason."""

    name: str
    prompts: list[rows.SetPrompt]
    left_out: dict[str, int]


class Format(NamedTuple):
    """How the columns of a benchmark's CSV are read.

    harmful says whether a row asks for something that should be declined; left_out names why a row is not asked,
    or is empty. Both see the row's columns, `needs` among them. origin is where the benchmark's own file is, if given.
    """

    prompt: str
    category: str
    id: str = ""  # empty, or not among a file's columns where it may lack: rows are numbered
    id_may_lack: bool = False
    needs: tuple[str, ...] = ()
    harmful: Callable[[dict[str, str]], bool] = lambda row: True
    left_out: Callable[[dict[str, str]], str] = lambda row: ""
    origin: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that a file must have."""
        return self.prompt, self.category, *([self.id] if self.id and not self.id_may_lack else []), *self.needs


def _harmbench_left_out(row: dict[str, str]) -> str:
    """Copyright asks for a text by heart, which no refusal judge can decide; a contextual row asks about a context."""
    kind = row["FunctionalCategory"].lower()
    if "copyright" in kind:
        return "copyright"
    return "contextual" if "contextual" in kind or row.get("ContextString") else ""


def _xstest_harmful(row: dict[str, str]) -> bool:
    label = row.get("label") or ("unsafe" if row["type"].startswith("contrast") else "safe")
    if label not in ("safe", "unsafe"):
        raise CompanionError(f"column label is {label!r}; write safe or unsafe")
    return label == "unsafe"


FORMATS = {
    "harmbench": Format(
        "Behavior",
        "SemanticCategory",
        "BehaviorID",
        id_may_lack=True,
        needs=("FunctionalCategory",),
        left_out=_harmbench_left_out,
        origin="data/behavior_datasets/harmbench_behaviors_text_all.csv of github.com/centerforaisafety/HarmBench",
    ),
    "strongreject": Format("forbidden_prompt", "category"),
    "xstest": Format("prompt", "type", "id", harmful=_xstest_harmful),
}


def parse(spec: str) -> tuple[Format, str]:
    """Format and place of `<format>:<path>` or `<format>:hf:<address>`; raises CompanionError."""
    name, colon, place = (part.strip() for part in spec.partition(":"))
    if name not in FORMATS or not colon or not place:
        raise CompanionError(f"field eval_sets: {spec!r}: write <format>:<file>, format one of {', '.join(FORMATS)}")
    return FORMATS[name], place


def names(specs: list[str]) -> list[str]:
    """The sets' names, by their files'; no file is read. Raises CompanionError where two files have one name."""
    found = {}
    for spec in specs:
        place = parse(spec)[1]
        name = re.sub(r"[^a-z0-9]+", "_", Path(place).stem.lower()).strip("_")
        if not name or name in found:
            other = f"{found[name]} has the same name, {name}" if name else "its file's name has no letter or digit"
            raise CompanionError(f"field eval_sets: {spec}: {other}; rename the file")
        found[name] = spec
    return [*found]


def local_files(specs: list[str]) -> list[str]:
    """The files on disk among them, as the parameter writes them."""
    places = [parse(spec)[1] for spec in specs]
    return [place for place in places if not place.startswith("hf:")]


def absent(specs: list[str]) -> list[str]:
    """Those among the specs whose files are on disk and are not there."""
    return [spec for spec in specs if local_files([spec]) and not (ROOT / parse(spec)[1]).is_file()]


def all_there(specs: list[str]) -> None:
    """Raise CompanionError where a file on disk is not there."""
    for spec in absent(specs):
        form, place = parse(spec)
        kind = spec.partition(":")[0].strip()
        own = f" ({form.origin})" if form.origin else ""
        raise CompanionError(
            f"field eval_sets: {place}: no such file; put it there{own}, or give another, "
            f'-p eval_sets "[{kind}:FILE]", or none, -p eval_sets "[]"'
        )


def read_present(specs: list[str]) -> list[EvalSet]:
    """As `read_all`, without the files that are not there: what is known of the sets before a run."""
    lacking = absent(specs)
    return [read(spec, name) for spec, name in zip(specs, names(specs), strict=True) if spec not in lacking]


def read_all(specs: list[str]) -> list[EvalSet]:
    """All sets of the parameter eval_sets (paths from the repository's root); raises CompanionError, see `read`."""
    return [read(spec, name) for spec, name in zip(specs, names(specs), strict=True)]


def read(spec: str, name: str) -> EvalSet:
    """The prompts of one file.

    Raises CompanionError naming file, line, column and fix: no such file, not a CSV in UTF-8, a column that is
    missing, a prompt that is empty, an id that appears twice, no row left.
    """
    form, place = parse(spec)
    path = hub.fetch(place, "evaluation set") if place.startswith("hf:") else ROOT / place
    found, left_out = [], Counter()
    for number, (line, row) in enumerate(lines(path, form.columns), start=1):
        try:
            if reason := form.left_out(row):
                left_out[reason] += 1
                continue
            harmful = form.harmful(row)
        except CompanionError as error:
            raise CompanionError(f"{path}:{line}: {error}") from None
        numbered = form.id not in row
        require_filled(f"{path}:{line}", row, form.prompt, *([] if numbered else [form.id]))
        own = f"{number:04d}" if numbered else row[form.id]
        category = row[form.category] or "none"
        found.append(rows.SetPrompt(id=own, set=name, category=category, harmful=harmful, prompt=row[form.prompt]))
    require_unique(f"{path}: column {form.id}", [p.id for p in found])
    if not found:
        raise CompanionError(f"{path}: no prompt to ask, {sum(left_out.values())} rows left out; give another file")
    return EvalSet(name, found, dict(left_out))


def lines(path: Path, columns: tuple[str, ...], what: str = "an evaluation set") -> Iterator[tuple[int, dict]]:
    """Line number and stripped values by column of every row of a CSV that has these columns."""
    if not path.is_file():
        raise CompanionError(f"{path}: no such file; {what} (CSV) is expected there")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            for column in columns:
                if column not in (reader.fieldnames or ()):
                    has = ", ".join(reader.fieldnames or ()) or "none"
                    raise CompanionError(
                        f"{path}: column {column} is missing (it has: {has}); add it, or give the file meant"
                    )
            for row in reader:
                if None in row:
                    where = f"{path}:{reader.line_num}"
                    raise CompanionError(f"{where}: more values than columns; quote a text that has commas")
                yield reader.line_num, {k: (v or "").strip() for k, v in row.items()}
    except UnicodeDecodeError:
        raise CompanionError(f"{path}: not UTF-8; save the file as UTF-8") from None
    except csv.Error as error:
        raise CompanionError(f"{path}: not a CSV file ({error}); save it as CSV") from None


def require_filled(where: str, row: dict[str, str], *columns: str) -> None:
    """Raise CompanionError for the first of these columns that is empty."""
    for column in columns:
        if not row[column]:
            raise CompanionError(f"{where}: column {column} is empty; write it, or remove the row")


def require_unique(where: str, ids: list[str]) -> None:
    """Raise CompanionError for the first id that appears twice."""
    twice = [i for i, n in Counter(ids).items() if n > 1]
    if twice:
        raise CompanionError(f"{where}: {twice[0]!r} appears twice; give each row its own")


def overview(sets: list[EvalSet]) -> pd.DataFrame:
    """Prompts that are asked and rows left out, by set."""
    records = [
        {
            "set": s.name,
            "harmful": sum(p.harmful for p in s.prompts),
            "harmless": sum(not p.harmful for p in s.prompts),
            "left out": ", ".join(f"{n} {reason}" for reason, n in s.left_out.items()) or "none",
        }
        for s in sets
    ]
    return pd.DataFrame(records, columns=["set", "harmful", "harmless", "left out"])
