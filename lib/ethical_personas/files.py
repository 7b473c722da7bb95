"""Every file of rows or YAML in this project is read and written here.

One JSON object a line, UTF-8, one pydantic model per row type, unknown keys refused. `write`
goes to a temporary name, re-reads what it wrote, and renames: a file that exists is complete.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ethical_personas.errors import CompanionError

try:
    from yaml import CSafeLoader as SafeLoader  # ten times as fast
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader  # type: ignore[assignment]


class _Loader(SafeLoader):
    """The safe loader, which also refuses a field that appears twice."""

    def construct_mapping(self, node, deep=False):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for (key, _), name in zip(node.value, names, strict=False):
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} appears twice", key.start_mark)
        return super().construct_mapping(node, deep)


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
        raise CompanionError(
            f"{path}: field {place}: {' '.join(first['msg'].removeprefix('Value error, ').split())}; correct it"
        ) from None


NonEmpty = Field(min_length=1)


class Row(BaseModel):
    """Base of all rows: strict keys, values never silently coerced from another type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    KEY: ClassVar[tuple[str, ...]] = ("id",)  # the fields that identify a row in its file
    id: str = NonEmpty


R = TypeVar("R", bound=Row)


def read(path: Path | str, kind: type[R]) -> list[R]:
    """All rows of a JSON-lines file, checked; the fields `kind.KEY` must identify a row.

    Raises CompanionError naming file, line, field and fix.
    """
    path = Path(path)
    if not path.is_file():
        raise CompanionError(f"{path}: no such file; a {kind.__name__} file is expected there")
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line.strip():
            rows.append(parse_line(line, kind, f"{path}:{number}"))
    keys = Counter(tuple(getattr(row, k) for k in kind.KEY) for row in rows)
    twice = [k for k, n in keys.items() if n > 1]
    if twice:
        which = f"{'+'.join(kind.KEY)} {'/'.join(map(str, twice[0]))}"
        raise CompanionError(f"{path}: {which} stands {keys[twice[0]]} times; keep one row each")
    return rows


def read_appended(path: Path, kind: type[R]) -> list[R]:
    """All rows of a file that `append` writes, in order; a last line cut by a crash does not count.

    Raises CompanionError naming file, line, field and fix.
    """
    if not path.is_file():
        return []
    *lines, _cut = path.read_bytes().split(b"\n")  # bytes: U+2028 inside a text ends no line
    return [parse_line(line, kind, f"{path}:{n}") for n, line in enumerate(lines, start=1) if line.strip()]


def append(path: Path, row: Row, durable: bool = False) -> None:
    """Append a row as one line; a last line cut by a crash is removed first.

    durable: wait until the line is on disk, for what has been paid for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as out:
        size = out.seek(0, os.SEEK_END)
        out.seek(max(0, size - 1))
        if out.read(1) not in (b"\n", b""):
            out.seek(0)
            out.truncate(out.read().rfind(b"\n") + 1)
        out.write(json.dumps(row.model_dump(), ensure_ascii=False).encode() + b"\n")
        if durable:
            out.flush()
            os.fsync(out.fileno())


def parse_line(line: bytes, kind: type[R], where: str) -> R:
    """One checked row from its line; raises CompanionError naming `where`, field and fix."""
    try:
        return kind.model_validate(json.loads(line, object_pairs_hook=once))
    except UnicodeDecodeError as error:
        raise CompanionError(f"{where}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "(the whole row)"
        raise CompanionError(f"{where}: field {field}: {first['msg']}; a {kind.__name__} row is expected") from None
    except (ValueError, RecursionError) as error:  # no JSON, or JSON beyond what Python parses
        told = str(error).partition(":")[0]
        raise CompanionError(
            f"{where}: not one JSON object on the line ({told}); a cut line? restore or remove it"
        ) from None


def once(pairs: list[tuple]) -> dict:
    """A JSON object's fields; raises ValueError where one appears twice, which JSON readers resolve at will."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)
        raise ValueError(f"field {twice} appears twice")
    return found


def write(path: Path | str, rows: list[R]) -> Path:
    """Write rows atomically and re-read them; raises CompanionError when the two differ."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = type(rows[0]) if rows else Row
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as out:
            for row in rows:
                out.write(json.dumps(row.model_dump(), ensure_ascii=False) + "\n")
            out.flush()
            os.fsync(out.fileno())
        if read(temporary, kind) != rows:
            raise CompanionError(f"{path}: rows read back differ from the rows written; check the disk")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
