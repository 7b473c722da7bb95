"""Room on the disk: whether this clone can be written to, what is free, and about what a run will write.

The sizes are rough: weights at the bytes of their type, adapters by a rule of thumb, rows by what they took before.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from ethical_personas.errors import CompanionError
from ethical_personas.models import base_models
from ethical_personas.study import grid
from ethical_personas.study.profile import Profile
from ethical_personas.workflow import memory

GIB = 2**30
LEAST = 1.0  # GiB that any run needs
BYTES = 2  # of a weight
# Weights of an adapter of rank one on all layers: this times the model's own to the power of two thirds, since both
# width and depth grow with a model (SmolLM2-135M 1.16, Qwen2.5-0.5B 0.88, Mistral 7B 0.70).
ADAPTER = 0.9
# MiB of rows and executed notebooks for each model, at answers of 48 tokens: the shipped run has 1 MiB of rows.
ROWS, TOKENS = 2.0, 48
STATES = 130  # MiB that the source's evaluation leaves for the tuned models (models/lower_states.py), not on a card
# The size in a model's name: 7B, 8x7B, 0.5b, 270M.
NAMED = re.compile(r"(?i)(?<![\da-z.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z])")


class Need(NamedTuple):
    """A part of what a run writes: what it is, its size in GiB (None: not known), and where it goes."""

    what: str
    gib: float | None
    place: Path


def writable(root: Path) -> None:
    """Raise when a clone or its disk takes no more files."""
    try:
        for part in ("runs", "figures"):
            (root / part).mkdir(exist_ok=True)
            probe = root / part / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise _not_writable(root, str(error.strerror)) from None
    free = shutil.disk_usage(root).free / GIB
    if free < LEAST:
        raise CompanionError(f"{free:.1f} GiB free here; a run needs {LEAST:.0f} at least, free some disk first")


def report(p: Profile, name: str, root: Path) -> list[str]:
    """What is free and what a run of this profile needs, a line a disk; writes nothing.

    Raises CompanionError where a disk has less, or the clone cannot be written to.
    """
    if not os.access(root, os.W_OK):
        raise _not_writable(root, "no permission, or a file system that is read-only")
    wanted, lines = needs(p, name, root), []
    disks: dict[int, list[Need]] = {}
    for need in wanted:
        disks.setdefault(_existing(need.place).stat().st_dev, []).append(need)
    for parts in disks.values():
        place, known = _existing(parts[0].place), [(n.what, n.gib) for n in parts if n.gib is not None]
        if not known:
            continue
        free, total = shutil.disk_usage(place).free / GIB, sum(gib for _, gib in known)
        told = ", ".join(f"{what} {gib:.1f}" for what, gib in known)
        if free < (least := max(total, LEAST)):
            raise CompanionError(
                f"{free:.1f} GiB free in {place}, the run needs about {least:.1f} ({told}); free some disk, or "
                "move the clone (fetched models: HF_HOME) to a larger one"
            )
        lines.append(f"  disk: {free:.1f} GiB free in {place}, about {least:.1f} needed ({told})")
    lines += [f"  not counted: {n.what}, whose size is not known here" for n in wanted if n.gib is None]
    return lines


def needs(p: Profile, name: str, root: Path) -> list[Need]:
    """What a run will write, less what an earlier, stopped one has left."""
    specs = dict.fromkeys([p.base_model, *([p.teacher_model or p.base_model] if "local" in p.live.values() else [])])
    places = {spec: base_models.folder(spec, fetch=False) for spec in specs}
    sizes = _run(p, size_of(p.base_model, places[p.base_model]))
    held = 1.0 * sum(f.stat().st_size for f in (root / "runs" / name).rglob("*") if f.is_file())
    found = []
    for what, size in sizes.items():
        rest = None if size is None else max(0.0, size - held) / GIB
        held = max(0.0, held - (size or 0))
        found.append(Need(what, rest, root / "runs"))
    for spec in [spec for spec, place in places.items() if place is None]:
        size = size_of(spec, None)
        found.append(Need(f"{spec} to be fetched", size and size / GIB, _kept_in(spec, root)))
    if p.judge == "hf":
        from ethical_personas.judge import hf  # late: it reads a file as it loads

        if not Path(hf.parse(p.judge_model)[1]).is_dir():
            found.append(Need(f"judge_model {p.judge_model}", None, root))
    return found


def _run(p: Profile, weights: float | None) -> dict[str, float | None]:
    """Bytes of a run's parts, by what they are; `weights`: bytes of the base model's."""
    wide = 2 if p.dtype == "float32" else 1  # files of weights have 16 bits, as a rule
    cells = grid.cells(p.constitutions, p.scopes, p.seeds, p.controls)
    steps = sum(c.name in p.dose_cells for c in cells) * len(p.dose_steps)
    number = len(cells) + steps
    sizes: dict[str, float | None] = {
        "rows and notebooks": ROWS * 2**20 * (1 + number) * max(1.0, p.max_new_tokens / TOKENS)
    }
    if weights and not memory.card():  # they grow with a model's width, about the root of its weights
        sizes["the source's hidden states"] = STATES * 2**20 * wide * (weights / 2**20 / memory.EMBEDDED) ** 0.5
    layers = 0.5 if p.lora_layers == "upper" else 1.0
    adapter = weights and layers * ADAPTER * p.lora_r * (weights / BYTES) ** (2 / 3) * BYTES * wide
    sizes[f"{number} adapters"] = adapter and adapter * number
    if p.source_stage == "sft":
        sizes["the helpful-only source"] = weights and weights * wide
    return sizes


def size_of(spec: str, place: Path | None) -> float | None:
    """Bytes of a model's weights: of its files in `place`, else by its number of weights; None: not known."""
    if place:
        return memory.weights(place) * 2.0**20
    return BYTES * (base_models.parameters(spec) or by_name(spec)) or None


def by_name(spec: str) -> float:
    """Number of weights that a model's name tells; 0 where it tells none."""
    found = NAMED.search(Path(spec.partition("@")[0]).name)
    return int(found[1] or 1) * float(found[2]) * {"b": 1e9, "m": 1e6}[found[3].lower()] if found else 0.0


def _kept_in(spec: str, root: Path) -> Path:
    """The folder that a fetched model goes to."""
    if not spec.startswith("hf:"):
        return root / "runs"
    from huggingface_hub import constants  # late: only a hub's model asks

    return Path(constants.HF_HUB_CACHE)


def _existing(place: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    return next(p for p in (place, *place.absolute().parents) if p.exists())


def _not_writable(root: Path, why: str) -> CompanionError:
    return CompanionError(f"{root}: cannot be written to ({why}); clone it to your own folder")
