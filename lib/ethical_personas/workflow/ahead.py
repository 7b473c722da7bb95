"""What a run would take and meet, printed by `./run_all.sh check`: work and hours, disk, files, card, endpoints."""

from __future__ import annotations

from ethical_personas.evaluate import set_files
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT
from ethical_personas.study.profile import Profile
from ethical_personas.workflow import disk, executors, memory, probe

FOR_A_CARD = ("gpu", "paper")  # profiles that are made for one


def show(chosen: Profile, name: str, profile: str, options: list[str]) -> int:
    """Print what a run takes, then whether disk, cluster, card, files and endpoints are there; spends nothing.

    options: Snakemake's own. Returns the exit status; raises CompanionError for what is not there.
    """
    from ethical_personas.workflow import estimate  # late: pandas takes a second of every other call

    print(f"profile {profile}, data and constitutions: all in order; a full run takes")
    print(estimate.text(chosen, name, profile))
    print(*disk.report(chosen, name, ROOT), sep="\n", flush=True)
    executors.check(options)
    if not executors.runs_elsewhere(options):
        _card(chosen, profile)
    set_files.all_there(chosen.eval_sets)
    for line in probe.report(chosen):
        print(line, flush=True)
    return 0


def _card(chosen: Profile, profile: str) -> None:
    """Say how many jobs the CUDA card holds, or that there is none where the profile is made for one."""
    if card := memory.card():
        least = require_card(chosen, card)
        held = f", {card // least} at a time of its largest jobs ({least})" if least else ""
        print(f"  CUDA card: {card} MiB{held}", flush=True)
    elif profile in FOR_A_CARD:
        print(f"  note: profile {profile} is made for a CUDA card and none is seen here: it will run on the processor")


def require_card(chosen: Profile, card_mib: int) -> int:
    """MiB that the largest job declares of a card, 0 for a model of unknown size; raises where it does not fit.

    Of a model that is not on disk yet the size is the pinned one, or the one in its name.
    """
    model = base_models.folder(chosen.base_model, fetch=False)
    mib = int((disk.size_of(chosen.base_model, model) or 0) / 2**20)
    return memory.require_card(card_mib, mib, memory.words(model), chosen.dtype) if model or mib else 0
