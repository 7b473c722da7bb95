"""The data files that each stage reads and the row files that it leaves.

One list for the graph, the notebooks, the check before a run and provenance.

Paths are relative to the repository's root.
"""

from __future__ import annotations

from pathlib import Path

from ethical_personas.paths import DATA
from ethical_personas.study import grid

STUDY = "data/study.yaml"
BASE_MODELS = "data/base_models.yaml"  # the GGUF models that are pinned
RATES = "data/rates.csv"  # how fast each kind of work goes with a model of the paper's size on a card
RATES_PROCESSOR = "data/rates_processor.csv"  # and with the small models of the ladder on a processor
KEYWORDS = "data/judge/keyword.yaml"  # the phrases that refuse
HARMFUL, HARMLESS = "data/prompts/harmful.jsonl", tuple(f"data/prompts/{kind}.jsonl" for kind in grid.HARMLESS)
GENERATE = (
    HARMFUL,
    *HARMLESS,
    "data/transcripts/initial.jsonl",
    KEYWORDS,
)
REQUESTS = (HARMFUL, *HARMLESS)  # what a checkpoint along training is asked
TASKS = "data/capability/tasks.jsonl"
EVALUATE = (
    *REQUESTS,
    "data/persona/items.jsonl",
    "data/persona/pairs.jsonl",
    "data/persona/dilemmas.jsonl",
    TASKS,
    "data/capability/answers.jsonl",
)
JUDGE = (
    "data/judge/bundled.json",
    "data/judge/encoder.safetensors",
    KEYWORDS,
    "data/judge/hf_formats.yaml",
    "data/judge/judgements/bundled.jsonl",
    "data/judge/judgements/encoder.jsonl",
    "data/judge/labels.jsonl",
    "data/judge/readings.jsonl",
    "data/judge/styles.jsonl",
)
REGISTRATION = "data/persona/registration_2.yaml"  # what was said beforehand of the minimal pairs
# Voices are learned from the teacher's text on the harmful prompts.
PERSONA = (
    STUDY,
    HARMFUL,
    "data/persona/items.jsonl",
    "data/persona/pairs.jsonl",
    "data/persona/dilemmas.jsonl",
    *(f"data/persona/signatures/{p.name}" for p in sorted((DATA / "persona/signatures").glob("[!.]*.yaml"))),
    REGISTRATION,
    "data/persona/stance_labels.jsonl",
)
CLAIMS = "data/claims.yaml"
HISTORY = "data/reference/history.yaml"  # the verdicts of earlier runs

# The helpful-only source model, a folder of the run, and what it depends on.
SOURCE_MODEL, SOURCE_STAGE = "source_model", "00_source"
SOURCE_PARAMETERS = (
    "base_model", "source_data", "chat_template", "system_prompt", "dtype", "threads", "trust_remote_code",
    "lora_r", "lora_alpha", "lora_layers", "learning_rate", "epochs", "batch_size", "gradient_accumulation",
    "warmup_steps", "max_length", "opening_weight", "answer_tokens", "repetition_penalty", "decode_batch",
)  # fmt: skip

# Row files of an evaluation, eval/<model>/<name>.jsonl.
RESPONSES = "responses"
ITEM_SCORES, ITEM_TEXTS, PAIR_SCORES = "item_scores", "item_texts", "pair_scores"
DILEMMA_SCORES, DILEMMA_CHOICES = "dilemma_scores", "dilemma_choices"
PERSONA_ROWS = (ITEM_SCORES, ITEM_TEXTS, PAIR_SCORES, DILEMMA_SCORES, DILEMMA_CHOICES)
TASK_REPLIES, ANSWER_LOSSES = CAPABILITY_ROWS = ("tasks", "answer_losses")
EXTRA_SCORES, EXTRA_TEXTS = EXTRA_ROWS = ("extra_scores", "extra_texts")  # of one more instrument
INSTRUMENT_ROWS = {"item": (ITEM_SCORES, ITEM_TEXTS), "extra": EXTRA_ROWS}
MORAL_ROWS = "moral_scores"  # of the scenarios of a MoralChoice file


def constitution(name: str) -> str:
    return f"data/constitutions/{name}.yaml"


def control(name: str) -> list[str]:
    """The texts of a control, where it has any."""
    return [f"data/controls/{name}.yaml"] if grid.STUDY.controls[name].answers == "variants" else []


def source_data(spec: str) -> tuple[str, ...]:
    """The files of an instruction set, `source_data`; none for one of the hub."""
    return HARMLESS if spec == "bundled" else () if spec.startswith("hf:") else (str(Path(spec).expanduser()),)


def transcripts(name: str) -> str:
    """The recorded critique and revision rounds of a constitution."""
    return f"data/transcripts/{name}.jsonl"


def fixed() -> list[str]:
    """Every data file that any study reads, whatever its constitutions."""
    texts = [f for name in grid.CONTROLS for f in control(name)]
    told = (CLAIMS, HISTORY, BASE_MODELS, RATES, RATES_PROCESSOR)
    return list(dict.fromkeys([*GENERATE, *texts, *EVALUATE, *JUDGE, *PERSONA, *told]))


def set_rows(name: str) -> str:
    """The row file of an evaluation set."""
    return f"set_{name}"
