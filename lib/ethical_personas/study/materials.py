"""The bundled research material in `data/`: prompts, constitutions, transcripts, instrument."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.files import validated
from ethical_personas.paths import DATA
from ethical_personas.study import grid, rows

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Principle(BaseModel):
    """One principle with its critique and revision instruction."""

    model_config = ConfigDict(extra="forbid")
    id: Text
    principle: Text
    critique: Text
    revision: Text


class Sign(BaseModel):
    """A registered direction and why."""

    model_config = ConfigDict(extra="forbid")
    sign: Literal[-1, 0, 1]
    reason: str = ""


class Signature(RootModel):
    """What one constitution is expected to move: dimension -> sign."""

    root: dict[str, Sign]


class Constitution(BaseModel):
    """A constitution: any number of principles, each with both instructions."""

    model_config = ConfigDict(extra="forbid")
    id: Text
    title: Text
    summary: str
    preamble: str
    principles: list[Principle] = Field(min_length=1)


def constitution_names() -> list[str]:
    """Names of all constitutions in data/constitutions, sorted."""
    return sorted(p.stem for p in (DATA / "constitutions").glob("[!.]*.yaml"))  # macOS leaves ._ files


def constitution(name: str) -> Constitution:
    """Read one constitution; raises CompanionError naming file, field and fix."""
    path = DATA / "constitutions" / f"{name}.yaml"
    if name not in constitution_names():
        raise CompanionError(
            f"constitution {name!r} unknown: {', '.join(constitution_names())} exist; add {path.name}?"
        )
    taken = name in (grid.SOURCE, *grid.CONTROLS)
    if not re.fullmatch(r"[a-z0-9_]+", name) or taken:
        better = re.sub(r"[^a-z0-9_]+", "_", name.lower()) if not taken else "another name"
        raise CompanionError(
            f"{path}: a constitution's name has small letters, digits and _ only, and is not the source's or a "
            "control's; "
            f"call the file, its field id and its transcripts {better}"
        )
    found = validated(Constitution, path)
    ids = [p.id for p in found.principles]
    if len(set(ids)) < len(ids):
        raise CompanionError(f"{path}: two principles share an id; give each its own")
    if found.id != name:
        raise CompanionError(f"{path}: field id is {found.id!r}; it must equal the file's name, {name!r}")
    return found


def prompts(split: str, *categories: str) -> list[rows.Prompt]:
    """Prompts of a split in file order, optionally of some categories only."""
    found = [
        p for name in ("harmful", *grid.HARMLESS) for p in files.read(DATA / "prompts" / f"{name}.jsonl", rows.Prompt)
    ]
    return [p for p in found if p.split == split and (not categories or p.category in categories)]


def initial_answers() -> dict[str, str]:
    """Recorded first answers of the cpu profile's source model, by prompt id."""
    return {r.id: r.initial for r in files.read(DATA / "transcripts" / "initial.jsonl", rows.Initial)}


def transcripts(name: str) -> dict[str, rows.Transcript]:
    """Bundled critique -> revision rounds of one constitution, by prompt id."""
    path = DATA / "transcripts" / f"{name}.jsonl"
    if not path.is_file():
        raise CompanionError(f"{path}: no bundled transcripts for {name!r}; choose -p teacher local or api")
    return {r.id: r for r in files.read(path, rows.Transcript)}


def recorded(names: Iterable[str]) -> list[str]:
    """Those of `names` for which transcripts are bundled."""
    return [name for name in names if (DATA / "transcripts" / f"{name}.jsonl").is_file()]


def written_answers() -> dict[str, str]:
    """Written answers to harmless training prompts, by prompt id; not every prompt has one."""
    return {p.id: p.answer for p in prompts("train", *grid.HARMLESS) if p.answer}


def items() -> list[rows.Item]:
    """The 120 belief statements."""
    return files.read(DATA / "persona" / "items.jsonl", rows.Item)


def pairs() -> list[rows.Pair]:
    """The 240 minimal pairs of belief statements."""
    return files.read(DATA / "persona" / "pairs.jsonl", rows.Pair)


def instrument() -> list[tuple[str, str, int]]:
    """Id, dimension and keying of every belief statement; a minimal pair is scored towards its dimension."""
    single: list[tuple[str, str, int]] = [(i.id, i.dimension, i.keyed) for i in items()]
    return single + [(p.id, p.dimension, 1) for p in pairs()]


def dilemmas() -> list[rows.Dilemma]:
    """The 223 forced choices."""
    return files.read(DATA / "persona" / "dilemmas.jsonl", rows.Dilemma)


def signatures() -> dict[str, dict[str, int]]:
    """Signs expected beforehand: constitution -> dimension -> -1, 0 or +1, those of data/study.yaml first."""
    known = {path.stem: path for path in sorted((DATA / "persona" / "signatures").glob("[!.]*.yaml"))}
    order = [*(c for c in grid.CONSTITUTIONS if c in known), *(c for c in known if c not in grid.CONSTITUTIONS)]
    return {c: {d: cell.sign for d, cell in validated(Signature, known[c]).root.items()} for c in order}


def items_of_some() -> dict[str, set[str]]:
    """Items on dimensions that no reference constitution's signature names: id -> the constitutions that name it.

    They come with a constitution added to the study, and say nothing about the others.
    """
    signed = signatures()
    shared = {d for name in grid.REFERENCE for d in signed.get(name, {})}
    owned = [(i, dimension) for i, dimension, _ in instrument() if dimension not in shared]
    return {i: {name for name, signs in signed.items() if dimension in signs} for i, dimension in owned}


def tasks() -> list[rows.Task]:
    """The short tasks with checkable answers."""
    return files.read(DATA / "capability" / "tasks.jsonl", rows.Task)


def held_out_answers() -> dict[str, str]:
    """Written answers to helpful evaluation prompts, by prompt id: scored under every model, never trained on."""
    return {row.id: row.answer for row in files.read(DATA / "capability" / "answers.jsonl", rows.Answer)}
