"""What made a file: commit, parameters, hashes of inputs and outputs, versions, device, time, memory.

note = provenance.start(run, "02_finetune", cell.name, p)
…
provenance.finish(note, inputs=[…], outputs=[…], tokens=52_000)   ->  runs/cpu/provenance/02_finetune-….json
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

from ethical_personas.paths import ROOT, sha256
from ethical_personas.run import Run

PACKAGES = ("torch", "transformers", "peft", "trl", "scikit-learn", "pingouin", "statsmodels", "pandas", "numpy")


@dataclass
class Note:
    """An open provenance record."""

    path: Path
    stage: str
    name: str
    parameters: dict
    began: float


def start(run: Run, stage: str, name: str, parameters: SimpleNamespace) -> Note:
    """Open a record at the beginning of a stage; an earlier one is removed: its outputs are about to change."""
    path = run.path(f"provenance/{stage}-{name}.json")
    path.unlink(missing_ok=True)
    return Note(path, stage, name, dict(vars(parameters)), time.time())


def finish(note: Note, inputs: Sequence[Path] = (), outputs: Sequence[Path] = (), **measured) -> dict:
    """Write the record: wall seconds, peak memory in MiB, SHA-256 of each input and output, and `measured` values.

    outputs: files of the run, and folders, whose files all count; `Run.find` holds readers to these hashes.
    """
    run_dir = note.path.parent.parent
    made = [f for p in outputs for f in (sorted(x for x in p.rglob("*") if x.is_file()) if p.is_dir() else [p])]
    record = {
        "stage": note.stage,
        "name": note.name,
        **commit(),
        "parameters": note.parameters,
        "inputs": {str(p.relative_to(ROOT) if p.is_relative_to(ROOT) else p.name): sha256(p) for p in inputs},
        "outputs": {str(p.relative_to(run_dir)): sha256(p) for p in made},
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "machine": machine(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(time.time() - note.began, 1),
        "peak_memory_mib": peak_mib(),
        **measured,
    }
    note.path.parent.mkdir(parents=True, exist_ok=True)
    temporary = note.path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
    temporary.replace(note.path)
    return record


def peak_mib() -> int:
    """The most memory that this process has held, in MiB."""
    unit = 2**20 if platform.system() == "Darwin" else 2**10  # macOS counts it in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def commit() -> dict:
    """The repository's commit and whether tracked files but figures/ differ from it; None outside git."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    except OSError:  # no git on this machine: a copied folder runs too
        return {"commit": None, "dirty": None}
    if head.returncode:
        return {"commit": None, "dirty": None}
    # figures/ is what a run writes: its own output must not call it dirty.
    asked = ["git", "status", "--porcelain", "-uno", "--", ".", ":!figures"]
    changed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    return {"commit": head.stdout.strip(), "dirty": bool(changed.stdout.strip())}


def machine() -> dict:
    """System, processor, cores; where torch is loaded, its instruction set and whether the processor has AMX.

    Answers in bfloat16 differ between instruction sets.
    """
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    cpu = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    found = {
        "system": platform.system(),
        "processor": cpu.get("model name", platform.processor()),
        "cores": os.cpu_count(),
    }
    if torch := sys.modules.get("torch"):
        found["instruction_set"] = torch.backends.cpu.get_cpu_capability()
        found["amx"] = "amx_bf16" in cpu.get("flags", "").split()
    return found
