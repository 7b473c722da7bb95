"""What a job needs and what the machine has, in MiB: so many jobs run side by side as fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import psutil

from ethical_personas.errors import CompanionError

# Peak of a job with the embedded model (135M parameters, cpu profile): figures/cpu/provenance.json, rounded up.
PEAK = {"harmless": 1500, "generate": 1000, "finetune": 4400, "evaluate": 2900, "analysis": 1500}
# The same of a CUDA card (gpu profile), with what CUDA takes for each process.
CARD = {"harmless": 3000, "generate": 3000, "finetune": 4000, "evaluate": 4500, "analysis": 0}
SNAKEMAKE = 600  # of the two Snakemakes (190 each) that a cluster runs around a job
EMBEDDED = 270  # weights of that model in bfloat16
COPIES = 3  # of a larger model's weights on a processor: float32 and what is computed with them
CARD_COPIES = 1  # on a card, in their own 16 bits: a model of 13.9 GiB peaked at 15.5 in all (data/rates.csv)
WORDS = 49152  # of the embedded model's vocabulary
# For each thousand words more: a batch holds a number for each token and word. From Gemma 3 270M (262,144 words):
# training took 6.4 GiB on a processor and up to 10.6 on a card, an evaluation there about 7; making rows is taken to be
# like that.
LOGITS = {"finetune": 7.0}
CARD_LOGITS = {"harmless": 12.5, "generate": 12.5, "finetune": 32.0, "evaluate": 12.5}
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def total() -> int:
    """Nine tenths of the machine's memory, or of what its container may use."""
    limits = [psutil.virtual_memory().total]
    for path in map(Path, CGROUPS):
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits) * 9 // 10 // 2**20


def card() -> int:
    """Nine tenths of the first visible CUDA card's memory; 0 without a card, or where CUDA_VISIBLE_DEVICES hides it."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if not shutil.which("nvidia-smi") or seen in ("", "-1"):
        return 0
    asked = ["nvidia-smi", "-i", seen, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    found = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return int(found) * 9 // 10 if found.isdigit() else 0


def job(kind: str, weights: int, most: int, words: int = 0, on_card: bool = False, dtype: str = "auto") -> int:
    """Memory that one job declares.

    Args:
        kind: a key of PEAK.
        weights: size of the base model's files on disk, 0 where it is not known.
        most: the machine's memory; a job that needs more declares this, and so is tried alone rather than never.
            0 on a cluster, whose machines are not known here.
        words: size of the base model's vocabulary, 0 where it is not known.
        on_card: memory of a CUDA card instead.
        dtype: the profile's; on a card float32 takes twice what the files take.
    """
    peak, logits = (CARD, CARD_LOGITS) if on_card else (PEAK, LOGITS)
    copies = CARD_COPIES * (2 if dtype == "float32" else 1) if on_card else COPIES
    needed = peak[kind] + copies * max(0, weights - EMBEDDED) + logits.get(kind, 0) * max(0, words - WORDS) / 1000
    return min(int(needed), most) if most else int(needed)


def weights(model: Path | None) -> int:
    """Size in MiB of the weights in a model's folder; 0 for a model that is not on disk."""
    return sum(f.stat().st_size for f in model.glob("*.safetensors")) // 2**20 if model else 0


def words(model: Path | None) -> int:
    """Size of the vocabulary of a model's folder; 0 for a model that is not on disk."""
    if model is None or not (file := model / "config.json").is_file():
        return 0
    config = json.loads(file.read_text(encoding="utf-8"))
    return config.get("vocab_size") or config.get("text_config", {}).get("vocab_size", 0)


def require_card(card_mib: int, weights: int, words: int = 0, dtype: str = "auto") -> int:
    """What the largest job with a base model of this size declares of a CUDA card, as `job` does.

    Raises CompanionError where the card has less; 0 for `card_mib` is no card.
    """
    least = max(job(kind, weights, 0, words, on_card=True, dtype=dtype) for kind, peak in CARD.items() if peak)
    if 0 < card_mib < least:
        raise CompanionError(
            f"this CUDA card gives {card_mib} MiB, one job needs about {least}: take a smaller base_model, or hide the "
            "card (CUDA_VISIBLE_DEVICES=) and run on the processor"
        )
    return least
