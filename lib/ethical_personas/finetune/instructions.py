"""The instruction set that a raw base model is turned into a helpful-only source on.

    rows = read("bundled")                            written answers to harmless training prompts of this project
    rows = read("hf:tatsu-lab/alpaca@<revision>")     a data set of the hub, its split `train`
    rows = read("sets/mine.jsonl")                    or .json (one list), .csv

Rows have the fields of Alpaca: `instruction`, `input` (may be empty or left out), `output`; others are not read.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, ValidationError

from ethical_personas.errors import CompanionError, first_line
from ethical_personas.paths import ROOT
from ethical_personas.study import grid, materials
from ethical_personas.study.rows import SftRow

if TYPE_CHECKING:  # torch takes seconds, and the check before a run needs none of it
    from ethical_personas.models.chats import Chat


class Instruction(BaseModel):
    """One row of an instruction set."""

    instruction: str = Field(min_length=1)
    input: str = ""
    output: str


def local_file(source_data: str) -> Path | None:
    """The file that `source_data` names; None for the bundled set and for one of the hub."""
    return None if source_data == "bundled" or source_data.startswith("hf:") else ROOT / Path(source_data).expanduser()


def read(source_data: str) -> list[SftRow]:
    """The rows of an instruction set, in its order; raises CompanionError naming the file or row and what is wrong."""
    if source_data == "bundled":
        answers = materials.written_answers()
        asked = {p.id: p.prompt for p in materials.prompts("train") if p.id in answers}
        return [_row(i, asked[i], answer) for i, answer in answers.items()]
    path = local_file(source_data)
    found = [
        _row(f"instruction-{n}", "\n\n".join(filter(None, (one.instruction, one.input))), one.output)
        for n, one in enumerate(_checked(source_data, _of_file(path) if path else _of_hub(source_data)), start=1)
    ]
    if not found:
        raise CompanionError(f"source_data {source_data}: no rows; name another")
    return found


def check(source_data: str) -> None:
    """Raise CompanionError where a set cannot be read; one of the hub is left to the job that fetches it."""
    if not source_data.startswith("hf:"):
        read(source_data)


def usable(chat: Chat, rows: list[SftRow], max_length: int) -> list[SftRow]:
    """The rows that can be trained on: an answer that is not empty, at most `max_length` tokens.

    Raises CompanionError when there is none.
    """
    found = [r for r in rows if r.answer.strip() and len(chat.ids(r.prompt, r.answer)) <= max_length]
    if not found:
        raise CompanionError(f"source_data: no row has an answer and at most {max_length} tokens; raise max_length")
    return found


def _row(name: str, prompt: str, answer: str) -> SftRow:
    kind = grid.TRAINED[0]  # the first kind that is trained stands in for other rows (study/lists.py)
    return SftRow(id=name, kind=kind, category=kind, prompt=prompt, answer=answer, teacher="written")


def _checked(where: str, rows: Iterable) -> Iterable[Instruction]:
    for number, row in enumerate(rows, start=1):
        try:
            yield Instruction.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "(the whole row)"
            raise CompanionError(
                f"source_data {where}: row {number}: field {field}: {first['msg']}; instruction, input and output are "
                "expected"
            ) from None


def _of_file(path: Path) -> list:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            return list(csv.DictReader(text.splitlines(keepends=True)))
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(x) for x in text.split("\n") if x.strip()]
    except (OSError, ValueError, RecursionError, csv.Error) as error:  # bytes that are not UTF-8 are a ValueError too
        raise CompanionError(f"source_data {path}: cannot be read ({first_line(error)}); correct it") from None
    if not isinstance(rows, list):
        raise CompanionError(f"source_data {path}: one list of rows is expected; correct it")
    return rows


def _of_hub(source_data: str) -> Iterable:
    from datasets import load_dataset  # late: the graph asks only where the set lies

    name, _, revision = source_data.removeprefix("hf:").partition("@")
    try:
        return load_dataset(name, revision=revision, split="train")
    except (OSError, ValueError) as error:  # the hub's own errors are of these kinds
        raise CompanionError(
            f"source_data {source_data}: not fetched ({first_line(error)}); is the hub reachable?"
        ) from None
