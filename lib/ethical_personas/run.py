"""Where a run's files are: in runs/<name>, else in its profile's run, else in the shipped reference run.

    run = Run("runs/cpu", "cpu")
    run.path("eval/source/responses.jsonl")   where 03 writes
    run.find("eval/source/responses.jsonl")   where 04 reads: this run's file, else the shipped one

`find` compares a file with the hash that its stage left in its provenance record: a byte that changed on disk
stops the reader. Opened by hand, a notebook writes to runs/scratch and never disturbs a finished run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT, sha256, short


@dataclass(frozen=True)
class Run:
    """A run: its folder, relative to the repository's root, and the profile whose run it falls back on."""

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

    def locate(self, relative: str) -> Path:
        """A file or folder for reading, in the first of `places` that has it; raises CompanionError when none has."""
        for place in self.places:
            if (place / relative).exists():
                return place / relative
        raise CompanionError(f"{self.run_dir}/{relative}: not made yet; ./run_all.sh --profile {self.profile} makes it")

    def find(self, relative: str) -> Path:
        """A file or folder for reading whose content is what its stage wrote, by the hashes in its provenance record.

        Raises:
            CompanionError: it was not made, or has changed since.
        """
        path = self.locate(relative)
        parts = Path(relative).parts
        place = path.parents[len(parts) - 1]
        for record in sorted((place / "provenance").glob(f"[!.]*-{parts[1].removesuffix('.jsonl')}.json")):
            known = json.loads(record.read_text(encoding="utf-8"))
            for name, wanted in known.get("outputs", {}).items():
                written = place / name
                if Path(name).is_relative_to(relative) and not (written.is_file() and sha256(written) == wanted):
                    # Of an adapter the whole folder: Snakemake watches its weights only.
                    what = place.joinpath(*parts[:2]) if written.parts[len(place.parts)] == "adapters" else written
                    raise CompanionError(
                        f"{short(written)}: not what {known['stage']} wrote, by the hash in {record.name}; "
                        f"remove {short(what)} and run again, or restore it"
                    )
        return path

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
