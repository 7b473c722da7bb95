"""The graph: profile -> rows -> adapters -> evaluations -> figures. Started by ./run_all.sh.

Each notebook's rule takes as `params` exactly the parameters that its `parameters` cell declares, and a
hash of its code: so Snakemake reruns what a change touches and nothing else.
"""

import json
import os
import re
import shlex
from pathlib import Path

from ethical_personas.evaluate import set_files
from ethical_personas.generate import controls, source_answers
from ethical_personas.judge import hf
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import grid, inputs, materials, parameters, profile
from ethical_personas.workflow import code_hash, leader, memory, outputs

os.environ[leader.VARIABLE] = str(os.getpid())  # jobs end with the Snakemake that started them
PROFILE = config["profile"]
P = profile.load(PROFILE, config["overrides"])
RUN = f"runs/{config['name']}"
FIGURES = f"figures/{config['name']}"
PLACE = Run(RUN, PROFILE)
ANALYSIS_ONLY = config["analysis_only"]
CELLS = [c.name for c in grid.cells(P.constitutions, P.scopes, P.seeds, P.controls)]
MODELS = [grid.SOURCE, *CELLS]
CHECKPOINTS = [f"{c}@{s}" for c in P.dose_cells if c in CELLS for s in P.dose_steps]
if ANALYSIS_ONLY:  # the dose curve is drawn where a run has made one
    CHECKPOINTS = [c for c in CHECKPOINTS if PLACE.has(PLACE.evaluation(c, inputs.RESPONSES))]
# Two endpoints are two judges or teachers, also where the environment names them.
ENDPOINT = os.environ.get("OPENAI_BASE_URL", "").strip() if "api" in (P.judge, *P.live.values()) else ""
PERSONA_ROWS = [*inputs.PERSONA_ROWS, *(inputs.EXTRA_ROWS if P.persona_evals else [])]
PERSONA_ROWS += [inputs.MORAL_ROWS] if P.moral_choice else []
MORE = outputs.list_extra_tables(bool(P.persona_evals), bool(P.eval_sets), bool(P.moral_choice))
EXTRA_ITEMS = [f for f in (P.persona_evals, P.moral_choice) if f and not f.startswith("hf:")]
# What 04 reads beside the responses; shipped ones of an earlier version come without the tasks.
TASKED = not ANALYSIS_ONLY or all(
    PLACE.has(PLACE.evaluation(m, name)) for m in MODELS for name in inputs.CAPABILITY_ROWS
)
CAPABILITY = inputs.CAPABILITY_ROWS if TASKED else []
ASKED_ROWS = [*CAPABILITY, *(inputs.set_rows(name) for name in set_files.names(P.eval_sets))]
SET_FILES = set_files.local_files(P.eval_sets)


def model_files(spec):
    """Files of a model that lies on disk: other weights under the same name are another input."""
    place = Path(spec.removeprefix("path:")).expanduser() if spec and not spec.startswith(("wheel:", "hf:")) else None
    if place and place.suffix == ".gguf":
        return [str(place)]
    kinds = (".safetensors", ".json", ".jinja", ".model", ".txt")
    return sorted(str(f) for f in place.glob("[!.]*") if f.suffix in kinds) if place and place.is_dir() else []


def transcripts(*constitutions):
    """The recorded rounds of these constitutions and of the reference ones, where there are any."""
    return [inputs.transcripts(c) for c in materials.recorded(sorted({*grid.REFERENCE, *constitutions}))]


# The model that 01 to 03 start from: the base, or what the helpful-only stage makes of it.
HELPFUL = P.source_stage == "sft"
SOURCE = f"{RUN}/{inputs.SOURCE_MODEL}"
JOBS = P.model_copy(update={"base_model": f"path:{SOURCE}"}) if HELPFUL else P
BASE = [f"{SOURCE}/{base_models.MANIFEST}"] if HELPFUL else model_files(P.base_model)
ON_DISK = None if ANALYSIS_ONLY else base_models.folder(P.base_model, fetch=False)
SIZE = {"weights": memory.weights(ON_DISK), "words": memory.words(ON_DISK)}
JUDGE = [*inputs.JUDGE, *(model_files(hf.parse(P.judge_model)[1]) if P.judge == "hf" else [])]
# What 05 and 06 read beside the evaluations; voices are learned from the teacher's text.
VOICES = transcripts(*P.constitutions) + ([] if ANALYSIS_ONLY else [f"{RUN}/sft/{c}.jsonl" for c in P.live])


wildcard_constraints:
    constitution="|".join(P.constitutions),
    control="|".join(grid.CONTROLS) or "none",
    cell=r"[a-z0-9_]+-[a-z]+-s\d+",
    step=r"\d+",


def quote_json(values):
    """Values as one shell word of JSON. Braces inside of a text are escaped: Snakemake would take `{name}` for its own."""
    escaped = lambda text: text[0].replace("{", r"\u007b").replace("}", r"\u007d")
    return shlex.quote(re.sub(r'"(?:[^"\\]|\\.)*"', escaped, json.dumps(values)))


def run_notebook(notebook, suffix, **job):
    """The shell command of one notebook. It must not name `output`: Snakemake compares only underived params."""
    given = quote_json(parameters.for_notebook(JOBS, notebook) | job | {"profile": PROFILE, "run_dir": RUN})
    return f"python -m ethical_personas.workflow.execute {notebook} {RUN}/notebooks/{notebook}{suffix}.ipynb {given}"


def other_live_constitutions(wildcards):
    """Constitutions whose dropped rows count for all: a live teacher fails on some prompts, recorded rows never do.

    A control's rows are made from all of theirs.
    """
    own = grid.Cell.parse(wildcards.cell).constitution
    return [] if own in grid.CONTROLS else [c for c in P.live if c != own]


def row_file(path):
    """A row file, of this run or (analysis only) where it is found."""
    return str(PLACE.locate(path).relative_to(ROOT)) if ANALYSIS_ONLY else f"{RUN}/{path}"


def evaluation_files(models, name):
    return [row_file(PLACE.evaluation(m, name)) for m in models]


def job_memory(kind):
    """Memory in MiB that a job of this kind declares, so that no more of them start than fit."""
    machine = config["memory_mib"]
    return memory.job(kind, most=machine, **SIZE) + (0 if machine else memory.SNAKEMAKE)


def job_priority(priority, cell):
    """A job's priority: one seed's cells and evaluations before the next seed's, so that a cut run holds whole seeds."""
    return priority - 20 * (P.seeds.index(grid.Cell.parse(cell).seed) if cell in CELLS else 0)


def card_memory(kind):
    """The same of a CUDA card; nothing where there is none."""
    most = config["card_mib"]
    return memory.job(kind, most=most, on_card=True, dtype=P.dtype, **SIZE) if most else 0


def in_report(files, category):
    """Output files that `-- --report` shows."""
    return [report(f, category=category) for f in files]


# Constitutions whose training rows are at hand: the shipped responses may come without them.
WORDED = [c for c in P.constitutions if not ANALYSIS_ONLY or PLACE.has(PLACE.sft(c))]


rule all:
    input:
        # The executed notebooks too: figures/ is committed, and a fresh clone must not take it for its own work.
        [f"{RUN}/notebooks/{n}.ipynb" for n in ("04_emergent_alignment", "05_persona", "06_projectability")],
        # Every figure and table by its name: of a rule's outputs Snakemake makes again only what somebody asks for.
        outputs.list_all_files(FIGURES, WORDED, MORE),
        outputs.ladder(FIGURES) if P.ladder else [],
        # And what they rest on: Snakemake leaves a gap in the middle as it is unless somebody asks for it.
        evaluation_files(MODELS + CHECKPOINTS, inputs.RESPONSES),
        [evaluation_files(MODELS, name) for name in (*PERSONA_ROWS, *ASKED_ROWS)],
        [] if ANALYSIS_ONLY else expand(f"{RUN}/adapters/{{c}}/adapter_model.safetensors", c=CELLS),


if not ANALYSIS_ONLY:

    rule source_model:
        """A helpful-only source from a raw base model; only where the profile asks for one (source_stage)."""
        input:
            model_files(P.base_model),
            inputs.HARMFUL,
            inputs.source_data(P.source_data),
            inputs.KEYWORDS,
        output:
            f"{SOURCE}/{base_models.MANIFEST}",
        priority: 150
        threads: max(1, P.threads)
        resources:
            mem_mb=job_memory("finetune"),
            card_mb=card_memory("finetune"),
        params:
            command="python -m ethical_personas.workflow.source_model {} {} {}".format(
                RUN, PROFILE, quote_json({k: getattr(P, k) for k in inputs.SOURCE_PARAMETERS})
            ),
            code=code_hash.version("ethical_personas.workflow.source_model"),
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"

    rule harmless:
        """The source model's answers to the harmless training prompts, once for all constitutions."""
        input:
            inputs.REQUESTS,
            BASE,
        output:
            f"{RUN}/{source_answers.FILE}",
            f"{RUN}/{source_answers.RECORD}",
        priority: 140
        threads: max(1, P.threads)
        resources:
            mem_mb=job_memory("harmless"),
            card_mb=card_memory("harmless"),
        params:
            command="python -m ethical_personas.workflow.source_answers {} {} {}".format(
                RUN, PROFILE, quote_json({k: getattr(JOBS, k) for k in source_answers.PARAMETERS})
            ),
            code=code_hash.version("ethical_personas.workflow.source_answers"),
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"

    rule generate:
        input:
            inputs.constitution("{constitution}"),
            inputs.GENERATE,
            # The reference constitutions' too: 01 shows what sets its own apart.
            lambda w: transcripts(w.constitution),
            BASE,
            lambda w: model_files(P.teacher_model) if P.live.get(w.constitution) == "local" else [],
            rules.harmless.output[0],
        output:
            f"{RUN}/sft/{{constitution}}.jsonl",
            notebook=f"{RUN}/notebooks/01_generate-{{constitution}}.ipynb",
        priority: 130
        threads: max(1, P.threads)
        resources:
            mem_mb=job_memory("generate"),
            card_mb=card_memory("generate"),
        params:
            command=lambda w: run_notebook(
                "01_generate",
                f"-{w.constitution}",
                constitution=w.constitution,
                teacher=P.live.get(w.constitution, "bundled"),
            ),
            code=code_hash.version("01_generate"),
            endpoint=ENDPOINT,
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"

    rule control_rows:
        """The training rows of a control arm: the constitutions' own, with other answers to the harmful requests."""
        input:
            [f"{RUN}/sft/{c}.jsonl" for c in P.constitutions],
            lambda w: inputs.control(w.control),
            transcripts(),
        output:
            f"{RUN}/sft/{{control}}.jsonl",
            f"{RUN}/provenance/{controls.STAGE}-{{control}}.json",
        priority: 125
        resources:
            mem_mb=job_memory("analysis"),
        params:
            command=lambda w: "python -m ethical_personas.workflow.control_rows {} {} {} {}".format(
                RUN, PROFILE, w.control, quote_json({k: getattr(P, k) for k in controls.PARAMETERS})
            ),
            answers=lambda w: grid.STUDY.controls[w.control].answers,
            code=code_hash.version("ethical_personas.workflow.control_rows"),
        shell:
            "{params.command}"

    rule finetune:
        input:
            lambda w: [
                f"{RUN}/sft/{c}.jsonl" for c in [grid.Cell.parse(w.cell).constitution, *other_live_constitutions(w)]
            ],
            BASE,
        output:
            f"{RUN}/adapters/{{cell}}/adapter_model.safetensors",
            f"{RUN}/adapters/{{cell}}/log.csv",
            notebook=f"{RUN}/notebooks/02_finetune-{{cell}}.ipynb",
        priority: lambda w: job_priority(101 if w.cell in P.dose_cells else 100, w.cell)
        threads: max(1, P.threads)
        resources:
            mem_mb=job_memory("finetune"),
            card_mb=card_memory("finetune"),
        params:
            command=lambda w: run_notebook(
                "02_finetune",
                f"-{w.cell}",
                **vars(grid.Cell.parse(w.cell)),
                beside=other_live_constitutions(w),
                # Only a dose cell keeps checkpoints, so that another choice of cells retrains those alone.
                dose_steps=P.dose_steps if w.cell in P.dose_cells else [],
            ),
            # Of data/study.yaml only what decides the rows: another colour must not train a model again.
            study=lambda w: [*grid.Cell.parse(w.cell).categories, grid.STUDY.scopes[grid.Cell.parse(w.cell).scope].rows],
            code=code_hash.version("02_finetune"),
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"

    rule evaluate:
        input:
            inputs.EVALUATE,
            EXTRA_ITEMS,
            SET_FILES,
            BASE,
            lambda w: [f"{RUN}/adapters/{w.model}/adapter_model.safetensors"] if w.model != grid.SOURCE else [],
        output:
            [f"{RUN}/eval/{{model}}/{name}.jsonl" for name in (inputs.RESPONSES, *PERSONA_ROWS, *ASKED_ROWS)],
            notebook=f"{RUN}/notebooks/03_evaluate-{{model}}.ipynb",
        wildcard_constraints:
            model=r"[^@/]+",
        # The source first: tuned models take from its passes what they share with it.
        priority: lambda w: 120 if w.model == grid.SOURCE else job_priority(90, w.model)
        threads: max(1, P.threads)
        resources:
            mem_mb=job_memory("evaluate"),
            card_mb=card_memory("evaluate"),
        params:
            command=lambda w: run_notebook("03_evaluate", f"-{w.model}", model=w.model),
            study=grid.ITEM_LENSES,
            code=code_hash.version("03_evaluate"),
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"

    rule evaluate_checkpoint:
        """The dose curve: a checkpoint along training, asked the requests only."""
        input:
            inputs.REQUESTS,
            BASE,
            f"{RUN}/adapters/{{cell}}/adapter_model.safetensors",
        output:
            f"{RUN}/eval/{{cell}}@{{step}}/{inputs.RESPONSES}.jsonl",
            notebook=f"{RUN}/notebooks/03_evaluate-{{cell}}@{{step}}.ipynb",
        priority: lambda w: job_priority(90, w.cell)
        threads: max(1, P.threads)
        resources:
            mem_mb=job_memory("evaluate"),
            card_mb=card_memory("evaluate"),
        params:
            # A checkpoint is asked the bundled requests alone: another instrument or set does not concern it.
            command=lambda w: run_notebook(
                "03_evaluate",
                f"-{w.cell}@{w.step}",
                model=f"{w.cell}@{w.step}",
                persona_evals="",
                persona_evals_limit=0,
                moral_choice="",
                eval_sets=[],
            ),
            code=code_hash.version("03_evaluate"),
        shell:
            "OMP_NUM_THREADS={threads} {params.command}"


rule emergent_alignment:
    input:
        evaluation_files(MODELS + CHECKPOINTS, inputs.RESPONSES),
        [evaluation_files(MODELS, name) for name in ASKED_ROWS],
        inputs.TASKS,
        inputs.STUDY,
        JUDGE,
    output:
        in_report(outputs.figures("04_emergent_alignment", FIGURES), "Safety"),
        in_report(outputs.tables("04_emergent_alignment", FIGURES, MORE["04_emergent_alignment"]), "Safety, tables"),
        notebook=report(f"{RUN}/notebooks/04_emergent_alignment.ipynb", category="Notebooks"),
    resources:
        mem_mb=job_memory("analysis"),
    params:
        command=run_notebook("04_emergent_alignment", "", figures_dir=FIGURES),
        code=code_hash.version("04_emergent_alignment"),
        endpoint=ENDPOINT,
    shell:
        "OMP_NUM_THREADS={threads} {params.command}"


rule persona:
    input:
        # After 04, whose verdicts it reuses: the voice is heard among the answers that decline.
        rules.emergent_alignment.output.notebook,
        [evaluation_files(MODELS, name) for name in (inputs.RESPONSES, *PERSONA_ROWS)],
        EXTRA_ITEMS,
        inputs.PERSONA,
        VOICES,
        JUDGE,
    output:
        in_report(outputs.figures("05_persona", FIGURES), "Persona"),
        in_report(outputs.tables("05_persona", FIGURES, MORE["05_persona"]), "Persona, tables"),
        notebook=report(f"{RUN}/notebooks/05_persona.ipynb", category="Notebooks"),
    resources:
        mem_mb=job_memory("analysis"),
    params:
        command=run_notebook("05_persona", "", figures_dir=FIGURES),
        code=code_hash.version("05_persona"),
        endpoint=ENDPOINT,
    shell:
        "OMP_NUM_THREADS={threads} {params.command}"


rule projectability:
    input:
        # After 04, whose verdicts it reuses.
        rules.emergent_alignment.output.notebook,
        [evaluation_files(MODELS, name) for name in (inputs.RESPONSES, *PERSONA_ROWS)],
        inputs.PERSONA,
        VOICES,
        inputs.CLAIMS,
        inputs.HISTORY,
        JUDGE,
    output:
        in_report(outputs.figures("06_projectability", FIGURES), "Projectability"),
        in_report(outputs.tables("06_projectability", FIGURES), "Projectability, tables"),
        f"{FIGURES}/{outputs.CLAIMS}",
        notebook=report(f"{RUN}/notebooks/06_projectability.ipynb", category="Notebooks"),
    resources:
        mem_mb=job_memory("analysis"),
    params:
        command=run_notebook("06_projectability", "", figures_dir=FIGURES),
        code=code_hash.version("06_projectability"),
        endpoint=ENDPOINT,
    shell:
        "OMP_NUM_THREADS={threads} {params.command}"


rule words:
    """What sets a constitution's rows apart: of 01's rows, and apart from it, so that a lost figure trains nothing."""
    input:
        lambda w: [row_file(PLACE.sft(w.constitution)), *transcripts(w.constitution)],
    output:
        in_report(outputs.figures("01_generate", FIGURES), "Training data"),
        in_report(outputs.tables("01_generate", FIGURES), "Training data, tables"),
    resources:
        mem_mb=job_memory("analysis"),
    params:
        command=lambda w: f"python -m ethical_personas.workflow.words {RUN} {PROFILE} {FIGURES} {w.constitution}",
        revision_style=P.revision_style,
        code=code_hash.version("ethical_personas.workflow.words"),
    shell:
        "OMP_NUM_THREADS={threads} {params.command} {params.revision_style}"


if P.ladder:

    rule ladder:
        """One more figure, over several finished runs: what changes with the size of the base model."""
        input:
            [f for name in P.ladder for f in outputs.rung(name) if name == config["name"] or Path(f).is_file()],
        output:
            in_report(outputs.ladder(FIGURES), "Ladder of sizes"),
        resources:
            mem_mb=job_memory("analysis"),
        params:
            command="python -m ethical_personas.workflow.ladder {} {}".format(FIGURES, " ".join(P.ladder)),
            code=code_hash.version("ethical_personas.workflow.ladder"),
        shell:
            "{params.command}"


rule summary:
    input:
        rules.emergent_alignment.output.notebook,
        rules.persona.output.notebook,
        rules.projectability.output.notebook,
        f"{FIGURES}/{outputs.CLAIMS}",
    output:
        [f"{FIGURES}/{name}" for name in outputs.SUMMARY],
    resources:
        mem_mb=job_memory("analysis"),
    params:
        code=code_hash.version("ethical_personas.workflow.summary"),
        parameters=quote_json(P.to_record()),
    shell:
        "python -m ethical_personas.workflow.summary {RUN} {PROFILE} {FIGURES} {params.parameters}"
