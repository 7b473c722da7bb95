"""Where a run's files lie: runs/<profile>/, with the shipped reference run behind it.

    run = Run("runs/cpu", "cpu")
    run.responses("virtue-broad-s0")   where 03 writes
    run.find("eval/source/responses.jsonl")   where 04 reads: this run's file, else the shipped one

Opened by hand, a notebook writes to runs/scratch and never disturbs a finished run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib.errors import CompanionError
from lib.materials import ROOT


@dataclass(frozen=True)
class Run:
    """A run's folder and the profile it belongs to."""

    run_dir: str
    profile: str

    def path(self, relative: str) -> Path:
        """A file of this run, for writing."""
        return ROOT / self.run_dir / relative

    @property
    def places(self) -> tuple[Path, ...]:
        """Folders searched for reading, first to last."""
        return ROOT / self.run_dir, ROOT / "runs" / self.profile, ROOT / "data" / "reference" / self.profile

    def has(self, relative: str) -> bool:
        """Whether `find` would find it."""
        return any((place / relative).exists() for place in self.places)

    def find(self, relative: str) -> Path:
        """A file for reading: this run's, else the profile's own run's, else the shipped one."""
        for place in self.places:
            if (place / relative).exists():
                return place / relative
        raise CompanionError(f"{self.run_dir}/{relative}: not made yet; ./run_all.sh --profile {self.profile} makes it")

    def sft(self, constitution: str) -> str:
        """Training rows of a constitution (all scopes), relative path."""
        return f"sft/{constitution}.jsonl"

    def adapter(self, cell: str) -> str:
        """Adapter folder of a cell, or of its checkpoint `<cell>@<step>`, relative path."""
        name, _, step = cell.partition("@")
        return f"adapters/{name}/checkpoints/{step}" if step else f"adapters/{name}"

    def evaluation(self, model: str, name: str) -> str:
        """A file of a model's evaluation: responses, item_scores, item_texts, dilemma_scores."""
        return f"eval/{model}/{name}.jsonl"
