"""Where things are: the repository's root and folders, hashes of files, paths as a reader would type them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
MODELS = ROOT / "runs" / "models"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def short(path: Path) -> str:
    """A path as a reader of this clone would type it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def tool(name: str) -> str:
    """A command of the environment that runs this, as its reader would type it: `.venv/bin/pip`."""
    return short(Path(sys.prefix) / "bin" / name)
