"""The graph: profile -> rows -> adapters -> evaluations -> figures. Started by ./run_all.sh.

Each notebook's rule takes as `params` exactly the parameters that its `parameters` cell declares, and a
hash of its code: so Snakemake reruns what a change touches and nothing else.
"""

import json
import os
import shlex
from pathlib import Path

from ethical_personas.generate import source_answers
from ethical_personas.judge import hf
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, parameters, profile
from ethical_personas.workflow import code_hash, leader

os.environ[leader.VARIABLE] = str(os.getpid())  # jobs end with the Snakemake that started them
NAME = config["profile"]
P = profile.load(NAME, config.get("overrides") or {})
RUN = f"runs/{NAME}"
FIGURES = f"figures/{NAME}"
ANALYSIS_ONLY = config.get("analysis_only", False)
CELLS = [c.name for c in grid.cells(P.constitutions, P.scopes, P.seeds)]
MODELS = [grid.SOURCE, *CELLS]
CHECKPOINTS = [f"{c}@{s}" for c in P.dose_cells if c in CELLS for s in P.dose_steps]
if ANALYSIS_ONLY:  # the dose curve is drawn where a run has made one
    CHECKPOINTS = [c for c in CHECKPOINTS if Run(RUN, NAME).has(Run(RUN, NAME).evaluation(c, "responses"))]
TRAINED_PROMPTS = [f"data/prompts/{kind}_train.jsonl" for kind in grid.TRAINED]
JUDGE = [f"data/judge/{name}" for name in ("bundled.json", "lexicon.yaml", "keyword.yaml", "hf_formats.yaml", "labels.jsonl")]
# Two endpoints are two judges or teachers, also where the environment names them.
ENDPOINT = os.environ.get("OPENAI_BASE_URL", "").strip() if "api" in (P.judge, P.teacher) else ""
PERSONA_FILES = ["item_scores", "item_texts", "dilemma_scores"]
PERSONA_FILES += ["extra_scores", "extra_texts"] if P.persona_evals else []
EXTRA_ITEMS = [P.persona_evals] if P.persona_evals and not P.persona_evals.startswith("hf:") else []


def model_files(spec):
    """Files of a model that lies on disk: other weights under the same name are another input."""
    place = Path(spec.removeprefix("path:")).expanduser() if spec and not spec.startswith(("wheel:", "hf:")) else None
    kinds = (".safetensors", ".json", ".jinja", ".model", ".txt")
    return sorted(str(f) for f in place.glob("[!.]*") if f.suffix in kinds) if place and place.is_dir() else []


BASE = model_files(P.base_model)
JUDGE += model_files(hf.parse(P.judge_model)[1]) if P.judge == "hf" else []
TRANSCRIPTS = [f"data/transcripts/{c}.jsonl" for c in materials.recorded(materials.constitution_names())]
# What 05 and 06 read beside the evaluations; voices are learned from the teacher's text.
INSTRUMENT = ["data/study.yaml"]
INSTRUMENT += [f"data/persona/{name}" for name in ("items.jsonl", "dilemmas.jsonl", "signatures.yaml", "stance_labels.jsonl")]
VOICES = ["data/prompts/harmful.jsonl"]
VOICES += TRANSCRIPTS if P.teacher == "bundled" else [] if ANALYSIS_ONLY else [f"{RUN}/sft/{c}.jsonl" for c in P.constitutions]


wildcard_constraints:
    constitution=r"[a-z0-9_]+",
    cell=r"[a-z0-9_]+-[a-z]+-s\d+",
    step=r"\d+",


def given_to(notebook, **job):
    return parameters.for_notebook(P, notebook) | job | {"profile": NAME, "run_dir": RUN}


def run_notebook(notebook, suffix, **job):
    """The shell command of one notebook. It must not name `output`: Snakemake compares only underived params."""
    given = shlex.quote(json.dumps(given_to(notebook, **job)))
    return f"python -m ethical_personas.workflow.execute {notebook} {RUN}/notebooks/{notebook}{suffix}.ipynb {given}"


def beside(wildcards):
    """Constitutions whose dropped rows count for all: a live teacher fails on some prompts, recorded rows never do."""
    own = grid.Cell.parse(wildcards.cell).constitution
    return [c for c in P.constitutions if c != own] if P.teacher != "bundled" else []


def evaluated(models, name):
    """Evaluation files, made by this run or (analysis only) found where they lie."""
    run = Run(RUN, NAME)
    paths = [run.evaluation(m, name) for m in models]
    if not ANALYSIS_ONLY:
        return [f"{RUN}/{p}" for p in paths]
    return [str(run.locate(p).relative_to(ROOT)) for p in paths]


rule all:
    input:
        # The executed notebooks too: figures/ is committed, and a fresh clone must not take it for its own work.
        [f"{RUN}/notebooks/{n}.ipynb" for n in ("04_emergent_alignment", "05_persona", "06_projectability")],
        f"{FIGURES}/summary.md",
        # And what they rest on: Snakemake leaves a gap in the middle as it is unless somebody asks for it.
        evaluated(MODELS + CHECKPOINTS, "responses"),
        [evaluated(MODELS, name) for name in PERSONA_FILES],
        [] if ANALYSIS_ONLY else expand(f"{RUN}/adapters/{{c}}/adapter_model.safetensors", c=CELLS),


if not ANALYSIS_ONLY:

    rule harmless:
        """The source model's answers to the harmless training prompts, once for all constitutions."""
        input:
            "data/prompts/harmless.jsonl",
            TRAINED_PROMPTS,
            BASE,
        output:
            f"{RUN}/{source_answers.FILE}",
            f"{RUN}/{source_answers.RECORD}",
        params:
            command="python -m ethical_personas.workflow.source_answers {} {} {}".format(
                RUN, NAME, shlex.quote(json.dumps({k: getattr(P, k) for k in source_answers.PARAMETERS}))
            ),
            code=code_hash.version("ethical_personas.workflow.source_answers"),
        threads: max(1, P.threads)
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"

    rule generate:
        input:
            "data/constitutions/{constitution}.yaml",
            "data/prompts/harmful.jsonl",
            "data/prompts/harmless.jsonl",
            "data/prompts/helpful_answers.jsonl",
            TRAINED_PROMPTS,
            "data/transcripts/initial.jsonl",
            "data/judge/keyword.yaml",
            # All constitutions' transcripts: 01 shows what sets its own apart.
            TRANSCRIPTS,
            BASE,
            model_files(P.teacher_model) if P.teacher == "local" else [],
            rules.harmless.output[0] if P.harmless_targets == "source" else [],
        output:
            f"{RUN}/sft/{{constitution}}.jsonl",
            f"{FIGURES}/words_{{constitution}}.png",
            notebook=f"{RUN}/notebooks/01_generate-{{constitution}}.ipynb",
        params:
            command=lambda w: run_notebook(
                "01_generate", f"-{w.constitution}", constitution=w.constitution, figures_dir=FIGURES
            ),
            code=code_hash.version("01_generate"),
            endpoint=ENDPOINT,
        threads: max(1, P.threads)
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"

    rule finetune:
        input:
            lambda w: [f"{RUN}/sft/{c}.jsonl" for c in [grid.Cell.parse(w.cell).constitution, *beside(w)]],
            BASE,
        output:
            f"{RUN}/adapters/{{cell}}/adapter_model.safetensors",
            f"{RUN}/adapters/{{cell}}/log.csv",
            notebook=f"{RUN}/notebooks/02_finetune-{{cell}}.ipynb",
        params:
            command=lambda w: run_notebook(
                "02_finetune",
                f"-{w.cell}",
                **vars(grid.Cell.parse(w.cell)),
                beside=beside(w),
                # Only a dose cell keeps checkpoints, so that another choice of cells retrains those alone.
                dose_steps=P.dose_steps if w.cell in P.dose_cells else [],
            ),
            # Of data/study.yaml only what decides the rows: another colour must not train a model again.
            study=lambda w: [*grid.Cell.parse(w.cell).categories, grid.STUDY.scopes[grid.Cell.parse(w.cell).scope].rows],
            code=code_hash.version("02_finetune"),
        threads: max(1, P.threads)
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"

    rule evaluate:
        input:
            "data/prompts/harmful.jsonl",
            "data/prompts/harmless.jsonl",
            "data/persona/items.jsonl",
            "data/persona/dilemmas.jsonl",
            EXTRA_ITEMS,
            BASE,
            lambda w: [f"{RUN}/adapters/{w.model}/adapter_model.safetensors"] if w.model != grid.SOURCE else [],
        output:
            [f"{RUN}/eval/{{model}}/{name}.jsonl" for name in ("responses", *PERSONA_FILES)],
            notebook=f"{RUN}/notebooks/03_evaluate-{{model}}.ipynb",
        wildcard_constraints:
            model=r"[^@/]+",
        params:
            command=lambda w: run_notebook("03_evaluate", f"-{w.model}", model=w.model),
            study=grid.ITEM_LENSES,
            code=code_hash.version("03_evaluate"),
        threads: max(1, P.threads)
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"

    rule evaluate_checkpoint:
        """The dose curve: a checkpoint along training, asked the requests only."""
        input:
            "data/prompts/harmful.jsonl",
            "data/prompts/harmless.jsonl",
            BASE,
            f"{RUN}/adapters/{{cell}}/adapter_model.safetensors",
        output:
            f"{RUN}/eval/{{cell}}@{{step}}/responses.jsonl",
            notebook=f"{RUN}/notebooks/03_evaluate-{{cell}}@{{step}}.ipynb",
        params:
            # A checkpoint is asked no items, so another instrument is none of its business.
            command=lambda w: run_notebook(
                "03_evaluate", f"-{w.cell}@{w.step}", model=f"{w.cell}@{w.step}", persona_evals="", persona_evals_limit=0
            ),
            code=code_hash.version("03_evaluate"),
        threads: max(1, P.threads)
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"


rule emergent_alignment:
    input:
        evaluated(MODELS + CHECKPOINTS, "responses"),
        "data/study.yaml",
        JUDGE,
    output:
        f"{FIGURES}/safety_heatmap.png",
        notebook=f"{RUN}/notebooks/04_emergent_alignment.ipynb",
    params:
        command=run_notebook("04_emergent_alignment", "", figures_dir=FIGURES),
        code=code_hash.version("04_emergent_alignment"),
        endpoint=ENDPOINT,
    shell:
        "OMP_NUM_THREADS={threads} {params.command}"


rule persona:
    input:
        [evaluated(MODELS, name) for name in ("responses", *PERSONA_FILES)],
        EXTRA_ITEMS,
        INSTRUMENT,
        VOICES,
    output:
        notebook=f"{RUN}/notebooks/05_persona.ipynb",
    params:
        command=run_notebook("05_persona", "", figures_dir=FIGURES),
        code=code_hash.version("05_persona"),
    shell:
        "OMP_NUM_THREADS={threads} {params.command}"


rule projectability:
    input:
        # After 04, whose verdicts it reuses.
        rules.emergent_alignment.output.notebook,
        [evaluated(MODELS, name) for name in ("responses", *PERSONA_FILES)],
        INSTRUMENT,
        VOICES,
        "data/claims.yaml",
        JUDGE,
    output:
        f"{FIGURES}/claims.json",
        notebook=f"{RUN}/notebooks/06_projectability.ipynb",
    params:
        command=run_notebook("06_projectability", "", figures_dir=FIGURES),
        code=code_hash.version("06_projectability"),
        endpoint=ENDPOINT,
    shell:
        "OMP_NUM_THREADS={threads} {params.command}"


rule summary:
    input:
        rules.emergent_alignment.output.notebook,
        rules.persona.output.notebook,
        rules.projectability.output.notebook,
        f"{FIGURES}/claims.json",
        [] if ANALYSIS_ONLY else expand(f"{FIGURES}/words_{{c}}.png", c=P.constitutions),
    output:
        f"{FIGURES}/summary.md",
    params:
        code=code_hash.version("ethical_personas.workflow.summary"),
        parameters=shlex.quote(json.dumps(P.model_dump())),
    shell:
        "python -m ethical_personas.workflow.summary {RUN} {NAME} {FIGURES} {params.parameters}"
