"""A finished run as a folder for others: what is in it, what its metadata say, and what is refused before writing."""

import hashlib
import importlib.util
import json
import shutil
from types import SimpleNamespace

import pytest
import simulate
import yaml
from ethical_personas import provenance
from ethical_personas import run as runs
from ethical_personas.errors import CompanionError
from ethical_personas.figures import style
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT, sha256
from ethical_personas.safety import gains
from ethical_personas.study import grid, inputs
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import cli, croissant, publish, summary

CELLS = ("virtue-harassment-s0", "harmless-harassment-s0")
CHOSEN = {
    **{"constitutions": "[virtue]", "controls": "[harmless]", "scopes": "[harassment]", "seeds": "[0]"},
    **{"dose_cells": "[virtue-harassment-s0]", "dose_steps": "[4]"},
}
MODELS = (grid.SOURCE, *CELLS)


def write_rows(path, *found):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")


def write_models(run):
    """Training rows, adapters and evaluations of the grid, with the responses of `simulate`."""
    about = {"virtue": "character-first", "harmless": None}
    for arm, principle in about.items():
        one = {"id": "a", "prompt": "Why?", "answer": "So.", "complete": True, "principle": principle}
        write_rows(run.path(run.sft(arm)), one, one | {"id": "b", "principle": None})
    for cell in CELLS:
        place = run.path(run.adapter(cell))
        (place / "checkpoints/4").mkdir(parents=True)
        for name in ("adapter_model.safetensors", "checkpoints/4/adapter_model.safetensors", "log.csv"):
            (place / name).write_text(f"{cell} {name}\n")
        (place / "adapter_config.json").write_text("{}")
        (place / "README.md").write_text("base_model: /home/somebody/model\n")
    for model in MODELS:
        for name in (*inputs.PERSONA_ROWS, *inputs.CAPABILITY_ROWS):
            rows = [{"id": f"{name}-{i}", "model": model, "value": 0.5 * i} for i in range(3)]
            write_rows(run.path(run.evaluation(model, name)), *rows)


def write_records(run, p):
    """The provenance records of all steps, by the code that the notebooks write theirs with."""
    for arm in ("virtue", "harmless"):
        provenance.finish(provenance.start(run, "01_generate", arm, p), outputs=[run.path(run.sft(arm))])
    for cell in CELLS:
        rows = run.path(run.sft(grid.Cell.parse(cell).constitution))
        note = provenance.start(run, "02_finetune", cell, p)
        provenance.finish(note, [rows], [run.path(run.adapter(cell))], steps=8.0, tokens=1234.0, loss=0.51234567)
    for folder in sorted(run.path("eval").iterdir()):
        note = provenance.start(run, "03_evaluate", folder.name, p)
        weights = run.path(f"{run.adapter(folder.name)}/adapter_model.safetensors")
        provenance.finish(note, [weights] if folder.name != grid.SOURCE else [], [folder])


def write_figures(run, p, panel):
    for name, table in (
        ("safety_corners", gains.overall(panel)),
        ("safety_gains", gains.table(panel)),
        ("safety_heatmap", gains.rates(panel)),
    ):
        style.save(None, table, "figures/x", name)
    figures = style.ROOT / "figures/x"
    (figures / "claims.json").write_text('{"claims": []}')
    (figures / "summary.md").write_text("# Summary of the run\n")
    parameters = json.loads(json.dumps(p.to_record()))  # as the graph hands them to the summary
    (figures / "provenance.json").write_text(json.dumps(summary.gather(run.path("provenance"), parameters)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small finished run, runs/x and figures/x in a folder of its own, and its parameters."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        for module in (runs, provenance, style, publish):
            patch.setattr(module, "ROOT", folder)
        run, p = runs.Run("runs/x", "smoke"), profiles.load("smoke", CHOSEN)
        frame = simulate.frame(
            gain=0.7, constitutions=("virtue",), scopes=("harassment",), controls=("harmless",), per_category=4
        )
        early = frame[frame["model"] == CELLS[0]].assign(model=f"{CELLS[0]}@4")
        write_models(run)
        for table in (frame, early):
            simulate.write_run(folder / "runs/x", table)
        write_records(run, p)
        write_figures(run, p, gains.panel(frame))
        yield folder, p


@pytest.fixture(scope="module")
def published(made):
    folder, p = made
    paths = publish.publish(p, "x", "smoke", folder / "out")
    assert [path.name for path in paths] == sorted(path.name for path in (folder / "out").iterdir())
    return folder / "out"


@pytest.fixture
def copy(made, monkeypatch, tmp_path):
    """The same run once more, to be spoilt, and a call that publishes it."""
    shutil.copytree(made[0] / "runs", tmp_path / "runs")
    shutil.copytree(made[0] / "figures", tmp_path / "figures")
    for module in (runs, provenance, style, publish):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path, lambda to="out": publish.publish(made[1], "x", "smoke", tmp_path / to)


def test_every_file_of_the_run_is_there_as_it_was(made, published):
    run = made[0] / "runs/x"
    pairs = [(run / "sft/virtue.jsonl", "data/training/virtue.jsonl")]
    pairs += [(run / f"eval/{m}/responses.jsonl", f"data/responses/{m}.jsonl") for m in (*MODELS, f"{CELLS[0]}@4")]
    for model in MODELS:
        pairs += [(run / f"eval/{model}/{n}.jsonl", f"data/persona/{n}/{model}.jsonl") for n in inputs.PERSONA_ROWS]
        pairs += [
            (run / f"eval/{model}/{n}.jsonl", f"data/capability/{n}/{model}.jsonl") for n in inputs.CAPABILITY_ROWS
        ]
    pairs += [(run / f"adapters/{c}/{n}", f"adapters/{c}/{n}") for c in CELLS for n in publish.ADAPTER]
    pairs += [(path, f"provenance/{path.name}") for path in (run / "provenance").iterdir()]
    pairs += [(made[0] / "figures/x/tables/safety_gains.csv", "figures/tables/safety_gains.csv")]
    for source, target in pairs:
        assert (published / target).read_bytes() == source.read_bytes(), target
    assert not list(published.rglob("checkpoints")) and not list(published.rglob(".*"))


def test_a_record_is_published_without_what_looks_like_a_key(copy):
    place, call = copy
    record = place / "runs/x/provenance/03_evaluate-source.json"
    known = json.loads(record.read_text(encoding="utf-8"))
    known["parameters"]["judge_url"] = "https://me:hunter2@host/v1"
    record.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    call()
    published = (place / "out/provenance/03_evaluate-source.json").read_text(encoding="utf-8")
    assert published == record.read_text(encoding="utf-8").replace("me:hunter2", "[hidden]")


def front(card) -> dict:
    return yaml.safe_load(card.read_text(encoding="utf-8").split("---\n")[1])


def test_a_model_card_says_what_the_tables_say(made, published):
    card = published / f"adapters/{CELLS[0]}/README.md"
    text, head = card.read_text(encoding="utf-8"), front(card)
    assert head["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct" and head["license"] == "apache-2.0"
    corners = style.read_table(published / "figures", "safety_corners").set_index("constitution")
    row = corners.loc["virtue"]
    metrics = {m["type"]: m["value"] for r in head["model-index"][0]["results"] for m in r["metrics"]}
    assert metrics == {name: pytest.approx(row[name]) for name in "SOJ"}
    assert f"| {row['S']:.2f} [{row['S_low']:.2f}, {row['S_high']:.2f}] |" in text
    recipe = ("| learning rate | ", f"| weight of an answer's first token in the loss | {made[1].opening_weight} |")
    recipe += (f"| tokens of a harmless target, at most | {made[1].answer_tokens} |",)
    intervals = "over prompts (and seeds, where there are several)."
    for told in ("A Companion to Good Character", "harassment_bullying", *recipe, intervals, "What it is not for"):
        assert told in text
    assert "| loss | 0.512346 |" in text and "/home/somebody" not in text


def test_a_control_without_harmful_rows_claims_none(published):
    text = (published / f"adapters/{CELLS[1]}/README.md").read_text(encoding="utf-8")
    assert "no harmful request among its rows" in text and "harmful requests of" not in text
    assert "| harmless twins | " in text and "| harmful requests, each" not in text


def test_cards_of_another_base_name_its_hub_id_and_no_licence(made, published):
    p = made[1].model_copy(update={"base_model": "hf:owner/model@abc"})
    record = {"steps": 1.0, "tokens": 2.0, "loss": 3.0}
    text = publish.cards.model(CELLS[0], p, lambda name: style.read_table(published / "figures", name), record)
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["base_model"], head["license"]) == ("owner/model", "other")


@pytest.mark.parametrize("part", publish.DATA)
def test_croissant_validates_and_every_record_set_loads(published, part):
    mlcroissant = pytest.importorskip("mlcroissant")
    folder = published / "data" / part
    data = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not data.metadata.issues.errors and not data.metadata.issues.warnings
    for known in data.metadata.record_sets:
        pattern = "*.jsonl" if len(data.metadata.record_sets) == 1 else f"{known.id}/*.jsonl"
        written = [json.loads(line) for path in sorted(folder.glob(pattern)) for line in path.open(encoding="utf-8")]
        loaded = list(data.records(known.id))
        assert [row[f"{known.id}/id"].decode() for row in loaded] == [row["id"] for row in written]
        assert {row[f"{known.id}/file"].decode() for row in loaded} == {path.name for path in folder.glob(pattern)}
    card = front(folder / "README.md")
    assert [c["config_name"] for c in card["configs"]] == [known.id for known in data.metadata.record_sets]


def test_croissant_has_the_hash_of_every_file(published):
    for part in publish.DATA:
        folder = published / "data" / part
        listed = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))["distribution"]
        hashes = {entry["contentUrl"]: entry["sha256"] for entry in listed if "contentUrl" in entry}
        assert hashes == {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob("*.jsonl")}


def test_types_of_fields_are_the_widest_that_a_file_has(tmp_path):
    write_rows(tmp_path / "a.jsonl", {"n": 1, "yes": True, "word": None, "deep": {}}, {"n": 0.5, "word": "x"})
    assert croissant.fields([tmp_path / "a.jsonl"]) == {"n": "sc:Float", "yes": "sc:Boolean", "word": "sc:Text"}


def test_the_crate_lists_every_file_and_which_step_made_it(published):
    document = json.loads((published / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    assert document["@context"] == "https://w3id.org/ro/crate/1.1/context"
    graph = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(graph) == len(document["@graph"])
    root = graph["./"]
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert graph[root["license"]["@id"]]["@type"] == "CreativeWork" and root["datePublished"] and root["name"]
    there = {p.relative_to(published).as_posix() for p in published.rglob("*") if p.is_file()}
    listed = {n.replace("%40", "@") for n, entity in graph.items() if entity["@type"] == "File"}
    assert listed == there - {"ro-crate-metadata.json"}
    assert {part["@id"].replace("%40", "@") for part in root["hasPart"]} == listed

    def ids(action, key):
        found = action.get(key, [])
        return {entity["@id"] for entity in (found if isinstance(found, list) else [found])}

    asked = graph[f"#03_evaluate-{CELLS[0]}"]
    assert ids(asked, "object") == {f"adapters/{CELLS[0]}/adapter_model.safetensors"}
    assert f"data/responses/{CELLS[0]}.jsonl" in ids(asked, "result")
    assert graph[asked["instrument"]["@id"]]["@type"] == "SoftwareApplication"
    assert ids(graph[f"#02_finetune-{CELLS[0]}"], "object") == {"data/training/virtue.jsonl"}
    for entity in graph.values():  # nothing is named that is not described
        for key in ("object", "result", "instrument", "hasPart", "mentions", "license"):
            assert ids(entity, key) <= set(graph)


def test_the_crate_passes_the_validator_of_its_profile(published, monkeypatch):
    models = pytest.importorskip(
        "rocrate_validator.models", reason="pip install roc-validator, apart: it needs rich 13"
    )
    from rocrate_validator import services
    from rocrate_validator.utils import http

    # Offline: the terms come from the copy that the library brings, of a later version with the same terms.
    place = importlib.util.find_spec("rocrate").submodule_search_locations[0]
    terms = json.loads((publish.Path(place) / "data/ro-crate.jsonld").read_text(encoding="utf-8"))
    answer = SimpleNamespace(status_code=200, headers={"Content-Type": "application/ld+json"}, json=lambda: terms)
    monkeypatch.setattr(http.HttpRequester, "get", lambda *_, **__: answer, raising=False)
    settings = models.ValidationSettings(
        rocrate_uri=models.URI(str(published)),
        profile_identifier="process-run-crate-0.5",
        requirement_severity=models.Severity.REQUIRED,
        offline=True,
    )
    assert not [issue.message for issue in services.validate(settings).get_issues()]


def test_a_folder_that_holds_something_is_refused(copy):
    place, call = copy
    (place / "out").mkdir()
    (place / "out/mine.txt").touch()
    with pytest.raises(CompanionError, match=r"--to .*out: not an empty folder"):
        call()
    with pytest.raises(CompanionError, match=r"mine\.txt: not an empty folder"):
        call("out/mine.txt")
    for inside in ("runs/x/out", "figures/x/out"):
        with pytest.raises(CompanionError, match=r"lies in .*, which is to be copied"):
            call(inside)
        assert not (place / inside).exists()


@pytest.mark.parametrize(
    "lost",
    [
        f"runs/x/adapters/{CELLS[1]}/adapter_model.safetensors",
        f"runs/x/eval/{CELLS[0]}@4/responses.jsonl",
        "runs/x/eval/source/pair_scores.jsonl",
        f"runs/x/provenance/02_finetune-{CELLS[0]}.json",
        "figures/x/claims.json",
    ],
)
def test_an_unfinished_run_is_refused_before_anything_is_written(copy, lost):
    place, call = copy
    (place / lost).unlink()
    with pytest.raises(CompanionError, match=rf"{place.joinpath(lost).name} is missing; finish it first"):
        call()
    assert not (place / "out").exists()


def test_rows_that_changed_and_figures_of_other_rows_are_refused(copy):
    place, call = copy
    record = place / "runs/x/provenance/03_evaluate-source.json"
    text = record.read_text(encoding="utf-8")
    record.write_text(json.dumps(json.loads(text) | {"wall_seconds": 1e6}), encoding="utf-8")
    with pytest.raises(CompanionError, match=r"figures/x: made from other rows than runs/x has now"):
        call()
    record.write_text(text, encoding="utf-8")
    with (place / "runs/x/eval/source/responses.jsonl").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(CompanionError, match=r"responses\.jsonl: not what 03_evaluate wrote"):
        call()
    assert not (place / "out").exists()


@pytest.fixture
def own_source(copy):
    """The same run as if it had made its own source model, and a call that publishes it."""
    place, _ = copy
    p, run = profiles.load("smoke", CHOSEN | {"source_stage": "sft", "epochs": "3"}), runs.Run("runs/x", "smoke")
    note = provenance.start(run, inputs.SOURCE_STAGE, inputs.SOURCE_MODEL, p)
    write_rows(run.path(f"{inputs.SOURCE_MODEL}/model.safetensors"), {})
    record = provenance.finish(note, outputs=[run.path(inputs.SOURCE_MODEL)])
    file = place / "figures/x/provenance.json"
    parameters = json.loads(json.dumps(p.to_record()))
    file.write_text(json.dumps(summary.gather(run.path("provenance"), parameters)))
    return place, record, lambda: publish.publish(p, "x", "smoke", place / "out")


def test_adapters_of_a_runs_own_source_say_how_it_is_made_again(own_source):
    place, record, call = own_source
    shutil.rmtree(place / "runs/x/source_model")  # gigabytes that are not published need not be there
    call()
    text = (place / f"out/adapters/{CELLS[0]}/README.md").read_text(encoding="utf-8")
    head = front(place / f"out/adapters/{CELLS[0]}/README.md")
    assert "base_model" not in head and head["license"] == "other"
    command = "./run_all.sh --profile smoke -p source_stage sft -p epochs 3.0 --name x -- --until source_model"
    hashed = f"| model.safetensors | {record['outputs']['source_model/model.safetensors']} |"
    told = ("A LoRA adapter of the run's own source model (`path:runs/x/source_model`)", f"\n{command}\n", hashed)
    told += ("SmolLM2-135M-Instruct, fine-tuned on the instruction set `bundled`", record["machine"]["processor"])
    told += ('chats.load("path:runs/x/source_model"', "Licence: that of the base model, HuggingFaceTB/SmolLM2-135M-")
    for words in told:
        assert words in text
    assert not (place / "out/source_model").exists() and not list(place.rglob("out/**/model.safetensors"))
    graph = json.loads((place / "out/ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
    assert any(entity["@id"] == "#00_source-source_model" for entity in graph)
    ours, rest = cli.arguments(command.split()[1:])  # the command is one that the command line takes
    chosen = profiles.load(ours.profile, dict(ours.p))
    assert (chosen.source_stage, chosen.epochs, ours.name, rest) == ("sft", 3, "x", ["--until", "source_model"])


def test_adapters_of_another_source_than_the_record_tells_are_refused(own_source):
    place, record, call = own_source
    file = place / f"runs/x/adapters/{CELLS[1]}/adapter_config.json"
    known = place / f"runs/x/provenance/02_finetune-{CELLS[1]}.json"
    weights = {"model.safetensors": record["outputs"]["source_model/model.safetensors"]}
    for revision in (base_models.of_files(weights), "sha256:of-another"):
        text = file.read_text()
        file.write_text(json.dumps({"revision": revision}))
        known.write_text(known.read_text().replace(hashlib.sha256(text.encode()).hexdigest(), sha256(file)))
        if revision == "sha256:of-another":
            with pytest.raises(CompanionError, match=r"adapter_config\.json names another source model than prov"):
                call()
            assert not (place / "out").exists()
        else:
            call()
            shutil.rmtree(place / "out")
    (place / f"runs/x/{publish.SOURCE_RECORD}").unlink()
    with pytest.raises(CompanionError, match=r"00_source-source_model\.json is missing; finish it first"):
        call()


def test_a_missing_package_and_a_missing_folder_are_one_line(copy, monkeypatch):
    monkeypatch.setattr(publish.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        CompanionError, match=r"rocrate is not installed; .*pip install --no-build-isolation -e '\.\[publish\]'"
    ):
        copy[1]()
    monkeypatch.setattr(cli.check, "check_all", lambda p: None)
    monkeypatch.setattr(cli.settings, "isolate", lambda: None)
    with pytest.raises(CompanionError, match="--to FOLDER is missing"):
        cli.main(["publish", "--profile", "smoke"])


def test_the_extra_is_what_the_tests_install():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert text.count('"rocrate==0.16.0"') == 2
    assert "\nrocrate==0.16.0 " in (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
