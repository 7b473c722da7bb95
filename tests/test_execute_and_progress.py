"""A notebook is published when it succeeded, and the progress line tells the truth about the log."""

import io

import jupytext
import nbformat
import pytest

from lib import execute, progress


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()

    def run(code: str) -> int:
        book = jupytext.reads(f'# %% tags=["parameters"]\nx = 1\n\n# %%\n{code}\n', fmt="py:percent")
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, tmp_path / "notebooks/n.ipynb")
        return execute.execute("n", tmp_path / "out/n.ipynb", {"x": 7})

    return run


def test_a_good_notebook_is_published_with_its_parameters(notebook, tmp_path):
    assert notebook("print(x * 6)") == 0
    assert "42" in (tmp_path / "out/n.ipynb").read_text()
    assert not list((tmp_path / "out/failed").iterdir())


def test_a_failed_notebook_is_kept_aside_with_its_traceback(notebook, tmp_path, capsys):
    assert notebook("raise ValueError('too few rows')") == 1
    assert not (tmp_path / "out/n.ipynb").exists()
    assert "too few rows" in (tmp_path / "out/failed/n.ipynb").read_text()
    assert capsys.readouterr().err.startswith("error: n: ValueError: too few rows")


LOG = """Job stats:
job         count
--------  -------
all             1
evaluate        2
finetune        1
total           4

[Tue Nov 24 21:52:00 2026]
localrule finetune:
    jobid: 9
    wildcards: cell=virtue-broad-s0
Shell command: OMP_NUM_THREADS=1 python -m lib.execute 02_finetune
[Tue Nov 24 21:52:19 2026]
Finished jobid: 9 (Rule: finetune)
localrule evaluate:
    jobid: 4
    wildcards: model=virtue-broad-s0
Shell command: OMP_NUM_THREADS=1 python -m lib.execute 03_evaluate
"""


def test_the_progress_line_counts_what_runs(tmp_path):
    out = io.StringIO()
    line = progress.Progress(tmp_path / "log", out)
    for text in LOG.splitlines():
        line.read(text)
    first, second = out.getvalue().splitlines()
    assert first.startswith("[1/3] finetune virtue-broad-s0 · about")
    assert second.startswith("[2/3] evaluate virtue-broad-s0 · about")
    assert line.remaining() == 2 * progress.GUESS["evaluate"]
