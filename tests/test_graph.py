"""What the graph is told and promises: names of runs, memory of jobs, files that a run leaves, values as typed."""

import ast
import json
import shlex
import shutil

import jupytext
import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT
from ethical_personas.study import inputs, notebooks
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import memory, names, outputs


def named(given=None, **overrides):
    return names.run_name("cpu", profiles.load("cpu", overrides), given)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({}, "cpu"),
        ({"judge": "bundled", "learning_rate": "0.002"}, "cpu"),  # what the profile says too
        ({"judge": "keyword"}, "cpu-judge-keyword"),
        ({"seeds": "[0, 1, 2]"}, "cpu-seeds-0+1+2"),
        ({"alpha": "0.1", "judge": "keyword"}, "cpu-judge-keyword-alpha-0.1"),
        ({"judge": "keyword", "alpha": "1e-1"}, "cpu-judge-keyword-alpha-0.1"),
    ],
)
def test_a_run_is_called_by_what_differs_from_its_profile(overrides, name):
    assert named(**overrides) == name


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"system_prompt": "a b"}, {"system_prompt": "a_b "}),
        ({"system_prompt": "Be kind"}, {"system_prompt": "be kind"}),
        ({"system_prompt": "x" * 99}, {"system_prompt": "x" * 98}),
        ({"system_prompt": "🙂"}, {"system_prompt": "../.."}),
        ({"judge_model": "a-judge_url-b"}, {"judge_model": "a", "judge_url": "b"}),
    ],
)
def test_names_are_short_apart_and_fit_every_file_system(first, second):
    both = [named(**first), named(**second)]
    assert len({name.lower() for name in both}) == 2
    for name in both:
        assert len(name) <= names.LONGEST and names.ALLOWED.fullmatch(name) and name.startswith("cpu-")


@pytest.mark.parametrize("given", ["", "a/b", "../x", ".hidden", "a b", "x" * 81, "-n", "grün", "a.", "a\nb"])
def test_a_name_that_is_no_folders_is_refused(given):
    with pytest.raises(CompanionError, match=r"--name .*: letters, digits and"):
        named(given)


@pytest.mark.parametrize("given", ["cpu", "CPU", "paper", "models", "scratch", "cache", "sets"])
def test_a_name_that_belongs_to_something_else_is_refused(given):
    with pytest.raises(CompanionError, match=f"--name {given!r} is taken by the"):
        named(given, judge="keyword")


def test_a_name_of_ones_own_choice_is_taken():
    assert named("trial.2", judge="keyword") == named("trial.2") == "trial.2"
    assert named("cpu") == "cpu"


def test_a_job_declares_what_it_was_measured_to_need():
    stages = json.loads((ROOT / "figures/cpu/provenance.json").read_text(encoding="utf-8"))["stages"]
    for stage in ("01_harmless", "01_generate", "02_finetune", "03_evaluate"):
        kind, peak = stage.partition("_")[2], stages[stage]["peak_memory_mib"]
        assert peak <= memory.job(kind, memory.EMBEDDED, 0) < 1.2 * peak
    assert memory.job("finetune", 14_000, 0) > 3 * 13_000, "a larger model needs more"
    assert memory.job("finetune", 14_000, 8_000) == 8_000, "tried alone rather than never"
    assert memory.job("finetune", 14_000, 0, on_card=True) < 19_000, "one copy of the weights on a card"
    # Gemma 3 270M in training: 6.4 GiB on a processor, up to 10.6 GiB on a card.
    assert memory.job("finetune", 511, 0, words=262_144) > 6.4 * 1024
    assert memory.job("finetune", 511, 0, words=262_144, on_card=True) > 10.58 * 1024


def test_the_size_of_the_vocabulary_is_read_from_the_models_folder(tmp_path):
    assert memory.words(None) == memory.words(tmp_path) == 0
    for config in ({"vocab_size": 7}, {"text_config": {"vocab_size": 7}}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert memory.words(tmp_path) == 7


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CGROUPS", (str(limit),))
    limit.write_text("max\n")
    assert memory.total() == memory.psutil.virtual_memory().total * 9 // 10 // 2**20
    limit.write_text(f"{2 * 2**30}\n")
    assert memory.total() == 2048 * 9 // 10


def saved(book):
    """Names that a notebook saves in its figures' folder: with a figure, and as tables alone."""
    source = "\n".join(c.source for c in notebooks.script(ROOT / f"notebooks/{book}.py") if c.kind == "code")
    found = {True: set(), False: set()}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "style.save" and "figures_dir" in ast.unparse(node):
            found[ast.unparse(node.args[0]) != "None"].add(ast.literal_eval(node.args[3]))
    if "decide.save(" in source:
        found[False] |= {"claims", "claims_units"}
    return found[True], found[False] - {outputs.EXTRA, outputs.MORAL, *outputs.SETS}


@pytest.mark.parametrize("book", [n for n in outputs.FIGURES if n != "01_generate"])
def test_a_notebook_saves_what_the_graph_expects(book):
    assert saved(book) == (set(outputs.FIGURES[book]), set(outputs.TABLES[book]))


def test_a_finished_run_leaves_what_the_list_says_and_nothing_else():
    made = {str(p.relative_to(ROOT)) for p in (ROOT / "figures/cpu").rglob("*") if p.is_file()}
    assert made == set(outputs.list_all_files("figures/cpu", profiles.load("cpu").constitutions))


def test_every_listed_data_file_is_there():
    assert not [f for f in inputs.fixed() if not (ROOT / f).is_file()]


@pytest.mark.parametrize("book", profiles.NOTEBOOKS)
def test_cells_are_read_as_jupytext_reads_them(book):
    path = ROOT / "notebooks" / f"{book}.py"
    wanted = [(c.cell_type, c.source.strip(), tuple(c.metadata.get("tags", ()))) for c in jupytext.read(path).cells]
    assert notebooks.script(path) == wanted == notebooks.notebook(path.with_suffix(".ipynb"))


ODD = "You are {name}, {0} of {{2}} – größer 🙂 'quoted' \"twice\" $HOME `x` \\n #1: No %s ${x} ; rm {output}"


@pytest.fixture(scope="module")
def plan(copied):
    """A dry run on a copy of the code and data: the run's name and its log."""

    def call(*arguments):
        done = copied[1](*arguments, "--", "--dry-run")
        assert done.returncode == 0, done.stderr
        (log,) = copied[0].glob("runs/*/snakemake.log")
        text = log.read_text(encoding="utf-8")
        for made in ("runs", "figures", ".snakemake"):
            shutil.rmtree(copied[0] / made, ignore_errors=True)
        return log.parent.name, text

    return call


@pytest.fixture(scope="module")
def odd(plan):
    """The plan of a whole run under an odd system prompt."""
    return plan("-p", "system_prompt", ODD)


@pytest.mark.long
def test_a_text_reaches_the_notebooks_as_it_was_typed(odd):
    name, log = odd
    assert name.startswith("cpu-system_prompt-You_are_name") and len(name) <= names.LONGEST
    jobs = [line.partition("Shell command: ")[2] for line in log.splitlines() if "workflow.execute" in line]
    given = [json.loads(shlex.split(job)[-1]) for job in jobs]
    prompts = {g["system_prompt"] for g in given if "system_prompt" in g}
    assert prompts == {ODD} and {g["run_dir"] for g in given} == {f"runs/{name}"}
    assert {g["profile"] for g in given} == {"cpu"}
    assert {g["figures_dir"] for g in given if "figures_dir" in g} == {f"figures/{name}"}


@pytest.mark.long
def test_each_constitution_has_its_own_teacher_in_the_graph(plan):
    named = {"care": "local", "default": "bundled"}
    _, log = plan(
        "-p", "constitutions", "[care, deontology]", "-p", "teacher", json.dumps(named), "-p", "controls", "[plain]"
    )
    jobs = [shlex.split(x.partition("Shell command: ")[2]) for x in log.splitlines() if "workflow.execute" in x]
    given = [(job[job.index("ethical_personas.workflow.execute") + 1], json.loads(job[-1])) for job in jobs]
    of = {g["constitution"]: g["teacher"] for book, g in given if book == "01_generate"}
    assert of == {"care": "local", "deontology": "bundled"}
    assert [g["teacher"] for book, g in given if book == "05_persona"] == [named]
    beside = {g["constitution"]: g["beside"] for book, g in given if book == "02_finetune"}
    assert beside == {"care": [], "deontology": ["care"], "plain": []}


@pytest.mark.long
def test_another_judge_reads_the_shipped_responses_and_writes_elsewhere(plan):
    name, log = plan("figures", "-p", "judge", "keyword")
    assert name == "cpu-judge-keyword" and "rule finetune" not in log
    assert "input: data/reference/cpu/eval/source/responses.jsonl" in log
    (line,) = [x for x in log.splitlines() if x.strip().startswith("output: figures/") and "safety_heatmap" in x]
    assert "figures/cpu/" not in line


@pytest.mark.long
def test_jobs_declare_their_memory_and_cells_start_before_evaluations(odd):
    _, log = odd
    found = {}
    for block in log.split("\nrule ")[1:]:
        rule, text = block.split(":", 1)
        priority = text.partition("priority: ")[2].split("\n")[0]
        memory_mib = text.partition("mem_mb=")[2].split(",")[0].split("\n")[0]
        found[rule] = int(priority or 0), int(memory_mib or 0)
    assert found["harmless"][0] > found["generate"][0] > found["finetune"][0] > found["evaluate"][0] > 0
    assert found["finetune"][1] == memory.job("finetune", 0, memory.total())
    assert found["evaluate"][1] == memory.job("evaluate", 0, memory.total())
