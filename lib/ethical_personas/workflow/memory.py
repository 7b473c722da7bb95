"""What a job needs and what the machine has, in MiB: so many jobs run side by side as fit."""

from __future__ import annotations

from pathlib import Path

import psutil

# Peak of a job with the embedded model (135M parameters, cpu profile): figures/cpu/provenance.json, rounded up.
PEAK = {"harmless": 1300, "generate": 1300, "finetune": 3900, "evaluate": 2300, "analysis": 1500}
EMBEDDED = 270  # weights of that model in bfloat16
COPIES = 3  # of a larger model's weights: float32 and what is computed with them
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def total() -> int:
    """Nine tenths of the machine's memory, or of what its container may use."""
    limits = [psutil.virtual_memory().total]
    for path in map(Path, CGROUPS):
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits) * 9 // 10 // 2**20


def job(kind: str, weights: int, most: int) -> int:
    """Memory that one job declares.

    Args:
        kind: a key of PEAK.
        weights: size of the base model's files on disk, 0 where it is not known.
        most: the machine's memory; a job that needs more declares this, and so is tried alone rather than never.
            0 on a cluster, whose machines are not known here.
    """
    needed = PEAK[kind] + COPIES * max(0, weights - EMBEDDED)
    return min(needed, most) if most else needed
