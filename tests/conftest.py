"""Shared fixtures: a tiny random Llama as a base-model folder, and the switches --slow and --fast."""

import os
import shutil
import subprocess
import sys

import loopback
import persona_toys
import pytest
from ethical_personas.models import chats, endpoint
from ethical_personas.paths import ROOT
from ethical_personas.study import materials
from hypothesis import settings

# The same examples in every run, and no deadline: a busy machine is no failure.
settings.register_profile("companion", deadline=None, derandomize=True)
settings.load_profile("companion")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the long fault tests too")
    parser.addoption("--fast", action="store_true", help="leave out what takes long")


# Files whose tests run a real model or the judge's encoder, the graph, tiny models of many families, whole runs of
# figures or long simulations: ./run_all.sh test --fast leaves them out, and every test that starts a server.
LONG = {
    *("test_smoke", "test_faults", "test_served", "test_judge_api", "test_teacher_faults"),
    *("test_before_anything_runs", "test_code", "test_train", "test_persona_planted", "test_claims"),
    *("test_claims_reach", "test_claims_specifications", "test_trainings"),
    *("test_extending", "test_fuzz", "test_voice", "test_figures", "test_cuda", "test_plots_safety"),
    *("test_judge", "test_judge_ablation", "test_families", "test_lower_half", "test_control_claims"),
    *("test_dilemmas", "test_persona_analyse", "test_persona_registered", "test_results", "test_source_model"),
}


# These files take longest and start first, then whatever else is long; what is short fills up the other process. A file
# runs in one process: the smoke tests share a run of this clone, the fault tests a clone that takes minutes to make.
FIRST = ("test_faults", "test_smoke", "test_extending", "test_voice")


def pytest_collection_modifyitems(config, items):
    for item in items:
        long = "long" in item.keywords or item.path.stem in LONG or "server" in getattr(item, "fixturenames", ())
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: ./run_all.sh test --slow runs it"))
        elif long and config.getoption("--fast"):
            item.add_marker(pytest.mark.skip(reason="long: ./run_all.sh test runs it"))
    after = len(FIRST)
    place = dict.fromkeys(LONG, after) | {stem: i for i, stem in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, after + 1))


@pytest.fixture(scope="session")
def copied(tmp_path_factory):
    """A copy of the code and data without runs or figures, and a call of the command line in it.

    In this clone itself other tests write runs/ at the same time.
    """
    folder = tmp_path_factory.mktemp("copy")
    for part in ("lib", "data", "profiles", "notebooks"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)

    def call(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "ethical_personas.workflow.cli", *arguments]
        known = os.environ | {"PYTHONPATH": str(folder / "lib")}
        return subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=120)

    return folder, call


@pytest.fixture
def untouched(copied):
    """A call of the command line that must leave no file or folder behind: its exit status, output and error lines."""
    folder, start = copied

    def call(*arguments: str) -> tuple[int, str, str]:
        before = {p for p in folder.rglob("*") if "__pycache__" not in p.parts}
        done = start(*arguments)
        assert {p for p in folder.rglob("*") if "__pycache__" not in p.parts} == before
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder of a two-layer random Llama with a word-level ChatML tokenizer, as a `path:` base model."""
    place = tmp_path_factory.mktemp("tiny")
    recorded = [r.revision for r in materials.transcripts("virtue").values()]
    toy = persona_toys.chat([*recorded, *(p.prompt for p in materials.prompts("train"))], layers=4)
    toy.model.save_pretrained(place)
    toy.tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def load(tiny):
    """Load the tiny model in float32, with an adapter if one is given."""
    return lambda adapter=None, **options: chats.load(f"path:{tiny}", adapter, dtype="float32", **options)


@pytest.fixture
def server(monkeypatch):
    """An OpenAI-compatible server on loopback (see loopback.py), a key for it, and short waits between tries."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)
    endpoint._endpoint.cache_clear()
    with loopback.running() as server:
        yield server
    endpoint._endpoint.cache_clear()
