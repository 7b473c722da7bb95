"""Publishing an executed notebook: what stands under its name is whole, whatever happened since."""

import json
from types import SimpleNamespace

import jupytext
import nbformat
import pytest

from lib import execute, provenance, run
from lib.errors import CompanionError
from lib.materials import sha256


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()

    def call(code):
        book = jupytext.reads(f'# %% tags=["parameters"]\nx = 1\n\n# %%\n{code}\n', fmt="py:percent")
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, tmp_path / "notebooks/n.ipynb")
        return execute.execute("n", tmp_path / "out/n.ipynb", {"x": 7})

    return call


def test_a_failure_leaves_the_last_good_notebook_and_a_success_clears_the_failed_one(notebook, tmp_path, capsys):
    good, failed = tmp_path / "out/n.ipynb", tmp_path / "out/failed/n.ipynb"
    assert notebook("print(x * 6)") == 0
    before = good.read_bytes()
    assert notebook("1 / 0") == 1
    assert good.read_bytes() == before and "ZeroDivisionError" in failed.read_text()
    assert capsys.readouterr().err == "error: n: ZeroDivisionError: division by zero (kept: out/failed/n.ipynb)\n"
    assert notebook("print(x * 7)") == 0
    assert "49" in good.read_text() and not failed.exists()


def test_a_kernel_that_dies_is_a_failure_too(notebook, tmp_path, capsys):
    assert notebook("import os\nos._exit(9)") == 1
    assert not (tmp_path / "out/n.ipynb").exists() and (tmp_path / "out/failed/n.ipynb").is_file()
    assert capsys.readouterr().err.startswith("error: n: DeadKernelError: ")


def test_a_run_is_read_before_the_profiles_and_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    mine = run.Run("runs/scratch", "cpu")
    with pytest.raises(CompanionError, match=r"runs/scratch/eval/x: not made yet; \./run_all\.sh --profile cpu"):
        mine.find("eval/x")
    for place in ("data/reference/cpu", "runs/cpu", "runs/scratch"):
        path = tmp_path / place / "eval/x"
        path.parent.mkdir(parents=True)
        path.write_text(place)
        assert mine.has("eval/x") and mine.find("eval/x").read_text() == place
    assert mine.adapter("virtue-broad-s0@6") == "adapters/virtue-broad-s0/checkpoints/6"


def test_provenance_says_what_a_file_was_made_from(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    place = run.Run(str(tmp_path), "cpu")
    (tmp_path / "in.jsonl").write_bytes(b"{}\n")
    parameters = SimpleNamespace(seed=0, scope="broad")
    note = provenance.start(place, "02_finetune", "virtue-broad-s0", parameters)
    record = provenance.finish(note, inputs=[tmp_path / "in.jsonl"], tokens=7)
    (path,) = (tmp_path / "provenance").iterdir()
    assert path.name == "02_finetune-virtue-broad-s0.json"
    assert json.loads(path.read_text()) == record
    assert record["inputs"] == {"in.jsonl": sha256(tmp_path / "in.jsonl")}
    assert (record["parameters"], record["tokens"]) == ({"seed": 0, "scope": "broad"}, 7)
    assert set(record["versions"]) == {*provenance.PACKAGES, "python"} and record["peak_memory_mib"] > 10
    assert "sk-secret" not in path.read_text() and str(tmp_path) not in path.read_text()
