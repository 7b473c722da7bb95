"""The cells of a notebook's paired script, read without the notebook libraries, whose import takes seconds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

HEAD = re.compile(r"(?m)^# %%(.*)\n")


class Cell(NamedTuple):
    """A cell: `code` or `markdown`, its text without blank ends, its tags."""

    kind: str
    source: str
    tags: tuple[str, ...] = ()


def script(path: Path) -> list[Cell]:
    """Cells of a script in jupytext's percent format; the header before the first cell is left out."""
    _, *parts = HEAD.split(path.read_text(encoding="utf-8"))
    found = []
    for head, source in zip(parts[::2], parts[1::2], strict=True):
        if "[markdown]" in head:
            found.append(Cell("markdown", re.sub(r"(?m)^# ?", "", source).strip()))
        else:
            tags = re.search(r"tags=(\[.*?\])", head)
            found.append(Cell("code", source.strip(), tuple(json.loads(tags[1])) if tags else ()))
    return found


def notebook(path: Path) -> list[Cell]:
    """Cells of an .ipynb; raises ValueError, LookupError, TypeError or AttributeError when it is none."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [Cell(c["cell_type"], "".join(c["source"]).strip(), tuple(c["metadata"].get("tags", ()))) for c in cells]
