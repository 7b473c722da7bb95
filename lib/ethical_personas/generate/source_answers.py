"""The source model's own answers to the harmless training prompts: targets shared by all constitutions.

Training on them teaches a model to tell requests apart instead of declining everything, as the helpful
rows of Constitutional AI do.
"""

from __future__ import annotations

import json
from pathlib import Path

from ethical_personas import files, provenance
from ethical_personas.generate import training_rows
from ethical_personas.paths import ROOT, sha256
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, refusals, rows
from ethical_personas.study.inputs import REQUESTS

FILE = "sft/harmless_answers.jsonl"
STAGE = "01_harmless"
RECORD = f"provenance/{STAGE}-{Path(FILE).stem}.json"
# What the answers depend on: everything that decides the source model and its decoding.
PARAMETERS = (
    "base_model", "chat_template", "system_prompt", "dtype", "threads", "trust_remote_code",
    "answer_tokens", "repetition_penalty", "decode_batch",
    "scopes", "rows_per_scope", *(f"{kind}_rows" for kind in grid.TRAINED),
)  # fmt: skip


def make(run: Run, p) -> list[rows.Response]:
    """Answer the harmless training prompts that are needed with the source model and write the rows; returns them."""
    from ethical_personas.models import chats, decode  # late: the graph reads the names above, and torch takes seconds

    note = provenance.start(run, STAGE, Path(FILE).stem, p)
    chat = chats.load_for(p)
    prompts = training_rows.harmless_needed(p)
    texts = [x.prompt for x in prompts]
    made = decode.answers(chat, texts, p.answer_tokens, p.decode_batch, p.repetition_penalty, label="harmless")
    found = [
        rows.Response(
            id=prompt.id,
            model=grid.SOURCE,
            category=prompt.category,
            twin=prompt.twin,
            prompt=prompt.prompt,
            response=answer.text,
            tokens=answer.tokens,
            finished=answer.finished,
        )
        for prompt, answer in zip(prompts, made, strict=True)
    ]
    written = files.write(run.path(FILE), found)
    provenance.finish(note, inputs=[ROOT / f for f in REQUESTS], outputs=[written], rows=len(found))
    return found


def is_current(run: Run, p) -> bool:
    """Whether answers lie ready that this very model gave, with this very decoding, to these very prompts."""
    if not run.has(FILE):
        return False
    record = run.locate(FILE).parents[1] / RECORD
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    asked = {k: getattr(p, k) for k in PARAMETERS if k != "threads"}
    prompts = {f: sha256(ROOT / f) for f in REQUESTS}
    return known.get("inputs") == prompts and asked.items() <= known["parameters"].items()


def targets(run: Run, kind: str) -> dict[str, tuple[str, bool]]:
    """Answers to train on and whether they are complete, by prompt id: the source's own, or `written` where one is.

    A source that declines a harmless request must not teach that; the keyword detector finds those.
    """
    found = files.read(run.find(FILE), rows.Response)
    own = {r.id: ("" if refusals.declines(r.response) else r.response, r.finished) for r in found}
    return own | {i: (a, True) for i, a in materials.written_answers().items()} if kind == "written" else own
