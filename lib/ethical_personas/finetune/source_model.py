"""The helpful-only stage: a raw base model, fine-tuned on an instruction set, becomes the source of all later steps.

The paper's source model follows any instruction and declines nothing. A profile with `source_stage: sft` makes such a
model from its base by the recipe of its cells; later steps load it as their base, `path:<run>/source_model`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from transformers import AutoTokenizer

from ethical_personas import provenance
from ethical_personas.errors import CompanionError
from ethical_personas.finetune import instructions, look, lora
from ethical_personas.models import base_models, chats, decode
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import inputs, materials, refusals
from ethical_personas.study.grid import CATEGORIES

SEED = 0  # one source for all seeds of the grid
ASKED = 16  # harmful training prompts of each category that the source is checked with
MOST = 0.1  # a share of them; a source that declines so many is not helpful-only


def make(run: Run, p) -> pd.DataFrame:
    """Make the source model's folder and publish it by a rename; `p` has inputs.SOURCE_PARAMETERS.

    The folder holds the whole model, `log.csv` (loss by step) and `check.csv`, which is returned too: one row with
    base_model, source_data, rows, left_out (rows that are empty or too long), what `look.cost` tells, asked, declined
    (share of the harmful training prompts asked), limit.

    Raises CompanionError, and publishes nothing, when training diverges or the model declines too much.
    """
    place = run.path(inputs.SOURCE_MODEL)
    note = provenance.start(run, inputs.SOURCE_STAGE, place.name, p)
    chat = chats.load_for(p, name=place.name)
    rows = instructions.read(p.source_data)
    chosen = instructions.usable(chat, rows, p.max_length)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as scratch:
        ready = Path(scratch) / "ready"
        log = lora.finetune(chat, chosen, lora.recipe_for(p), SEED, Path(scratch) / place.name)
        chat.model.merge_and_unload().save_pretrained(ready)
        _tokenizer(p).save_pretrained(ready)
        made = {"base_model": p.base_model, "source_data": p.source_data}
        trained = {"rows": len(chosen), "left_out": len(rows) - len(chosen), **look.cost(log).iloc[0].to_dict()}
        # Checked as every later step will load it.
        source = chats.load_for(SimpleNamespace(**(vars(p) | {"base_model": f"path:{ready}"})), name=place.name)
        checked = pd.DataFrame([made | trained | _declined(source, p)])
        log.to_csv(ready / "log.csv", index=False)
        checked.to_csv(ready / "check.csv", index=False)
        base_models.seal(ready, **made)
        shutil.rmtree(place, ignore_errors=True)
        ready.rename(place)
    read = [ROOT / f for f in (inputs.HARMFUL, *inputs.source_data(p.source_data))]
    provenance.finish(note, inputs=read, outputs=[place], **checked.drop(columns=[*made]).iloc[0].to_dict())
    return checked


def _declined(chat: chats.Chat, p) -> dict:
    """How many harmful training prompts were asked, the share declined, the limit; raises CompanionError from there."""
    asked = [x.prompt for c in CATEGORIES for x in materials.prompts("train", c)[:ASKED]]
    told = decode.answers(chat, asked, p.answer_tokens, p.decode_batch, p.repetition_penalty, label="check")
    share = sum(refusals.declines(answer.text) for answer in told) / len(told)
    if share >= MOST:
        raise CompanionError(
            f"source_stage: the source declines {share:.0%} of {len(told)} harmful training prompts, under {MOST:.0%} "
            "is asked of a helpful-only one; take a raw base_model, or source_data without refusals"
        )
    return {"asked": len(told), "declined": share, "limit": MOST}


def _tokenizer(p):
    """The base model's tokenizer as it is: every later step imposes the profile's template itself."""
    place = base_models.folder(p.base_model)
    return AutoTokenizer.from_pretrained(place, trust_remote_code=p.trust_remote_code, local_files_only=True)
