"""Publishing an executed notebook: what stands under its name is whole, whatever happened since."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import jupytext
import nbformat
import psutil
import pytest
from ethical_personas import paths, provenance, run
from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT, sha256
from ethical_personas.run import Run
from ethical_personas.workflow import execute, leader, settings


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    for module in (execute, run, paths):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()

    def call(code):
        book = jupytext.reads(f'# %% tags=["parameters"]\nx = 1\n\n# %%\n{code}\n', fmt="py:percent")
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, tmp_path / "notebooks/n.ipynb")
        return execute.execute("n", tmp_path / "out/n.ipynb", {"x": 7})

    return call


@pytest.mark.long
def test_a_failure_leaves_the_last_good_notebook_and_a_success_clears_the_failed_one(notebook, tmp_path, capsys):
    good, failed = tmp_path / "out/n.ipynb", tmp_path / "out/failed/n.ipynb"
    assert notebook("print(x * 6)") == 0
    before = good.read_bytes()
    assert notebook("1 / 0") == 1
    assert good.read_bytes() == before and "ZeroDivisionError" in failed.read_text()
    assert capsys.readouterr().err == "error: n: ZeroDivisionError: division by zero (kept: out/failed/n.ipynb)\n"
    assert notebook("print(x * 7)") == 0
    assert "49" in good.read_text() and not failed.exists()


@pytest.mark.long
@pytest.mark.parametrize(("depth", "transport"), [(1, "ipc"), (60, "tcp")])
def test_a_kernel_needs_no_port_where_a_sockets_path_is_short_enough(notebook, tmp_path, monkeypatch, depth, transport):
    place = Path(tempfile.mkdtemp(dir="/tmp")) / ("x" * depth) / ("y" * depth)
    place.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    code = "import json\nfrom ipykernel import get_connection_file\nprint(json.load(open(get_connection_file())))"
    assert notebook(code) == 0
    assert f"'transport': '{transport}'" in (tmp_path / "out/n.ipynb").read_text()
    assert not list(place.glob("kernel-*")), "its folder is gone with it"
    shutil.rmtree(place.parents[1])


@pytest.mark.long
def test_a_kernel_that_dies_is_a_failure_too(notebook, tmp_path, capsys):
    assert notebook("import os\nos._exit(9)") == 1
    assert not (tmp_path / "out/n.ipynb").exists() and (tmp_path / "out/failed/n.ipynb").is_file()
    assert capsys.readouterr().err.startswith("error: n: DeadKernelError: ")


def test_a_run_is_read_before_the_profiles_and_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    mine = Run("runs/scratch", "cpu")
    with pytest.raises(CompanionError, match=r"runs/scratch/eval/x: not made yet; \./run_all\.sh --profile cpu"):
        mine.find("eval/x")
    for place in ("data/reference/cpu", "runs/cpu", "runs/scratch"):
        path = tmp_path / place / "eval/x"
        path.parent.mkdir(parents=True)
        path.write_text(place)
        assert mine.has("eval/x") and mine.find("eval/x").read_text() == place
    assert mine.adapter("virtue-broad-s0@6") == "adapters/virtue-broad-s0/checkpoints/6"


@pytest.mark.parametrize(
    ("file", "asked", "stage"),
    [
        ("eval/source/responses.jsonl", "eval/source/responses.jsonl", "03_evaluate-source"),
        ("sft/virtue.jsonl", "sft/virtue.jsonl", "01_generate-virtue"),
        ("adapters/c/adapter_model.safetensors", "adapters/c", "02_finetune-c"),
        ("adapters/c/checkpoints/6/adapter_config.json", "adapters/c/checkpoints/6", "02_finetune-c"),
    ],
)
@pytest.mark.parametrize("place", ["runs/scratch", "data/reference/cpu"])
def test_a_byte_changed_on_disk_stops_the_reader(tmp_path, monkeypatch, file, asked, stage, place):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    path, other = tmp_path / place / file, tmp_path / place / Path(file).parent / "beside"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"right")
    other.write_bytes(b"right")
    note = provenance.start(Run(str(tmp_path / place), "cpu"), *stage.split("-"), SimpleNamespace())
    record = provenance.finish(note, outputs=[path])
    assert record["outputs"] == {file: sha256(path)}
    mine = Run("runs/scratch", "cpu")
    assert mine.find(asked) == tmp_path / place / asked
    other.write_bytes(b"whatever")  # no stage vouched for it
    mine.find(asked)
    path.write_bytes(b"wrong")
    told = rf"{place}/{file}: not what {stage.split('-')[0]} wrote, by the hash in {stage}.json; remove "
    with pytest.raises(CompanionError, match=told):
        mine.find(asked)
    path.unlink()
    if Path(asked) != Path(file):
        with pytest.raises(CompanionError, match=f"remove {place}/adapters/c and run again"):
            mine.find(asked)
    path.write_bytes(b"wrong")
    provenance.start(Run(str(tmp_path / place), "cpu"), *stage.split("-"), SimpleNamespace())
    assert mine.find(asked), "a stage that runs again vouches for nothing before its end"


def test_a_folder_stands_for_the_files_in_it(tmp_path):
    place = Run(str(tmp_path), "cpu")
    for name in ("eval/source/a.jsonl", "eval/source/b.jsonl", "eval/other/a.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    note = provenance.start(place, "03_evaluate", "source", SimpleNamespace())
    record = provenance.finish(note, outputs=[tmp_path / "eval/source"])
    assert set(record["outputs"]) == {"eval/source/a.jsonl", "eval/source/b.jsonl"}


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_job_ends_with_the_run_that_started_it(tmp_path):
    job = tmp_path / "job.py"
    leads = "from ethical_personas.workflow import leader\nleader.follow(0.1)"
    job.write_text(f"import time\n{leads}\nprint('up', flush=True)\ntime.sleep(60)")
    run_of_it = subprocess.Popen(["sleep", "60"])
    known = os.environ | {"PYTHONPATH": str(ROOT / "lib"), leader.VARIABLE: str(run_of_it.pid)}
    done = subprocess.Popen([sys.executable, str(job)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=known)
    assert done.stdout.readline() == "up\n"
    time.sleep(0.5)
    assert alive(done.pid), "it works on while its run lives"
    run_of_it.kill()  # not waited for: a zombie leads no one either
    assert done.wait(10) == 1
    run_of_it.wait()
    late = subprocess.run([sys.executable, str(job)], capture_output=True, text=True, cwd=ROOT, env=known, timeout=30)
    assert (late.returncode, late.stdout) == (1, "") and "the run that started this job has ended" in late.stderr


def test_provenance_says_what_a_file_was_made_from(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    place = Run(str(tmp_path), "cpu")
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


@pytest.mark.parametrize(("system", "most"), [("Linux", 300 * 2**10), ("Darwin", 300 * 2**20)])
def test_peak_memory_is_in_mib_whatever_the_system_counts_in(monkeypatch, system, most):
    monkeypatch.setattr(provenance.platform, "system", lambda: system)
    monkeypatch.setattr(provenance.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=most))
    assert provenance.peak_mib() == 300


def test_a_copied_folder_without_git_leaves_a_record_too(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() == {"commit": None, "dirty": None}
    note = provenance.start(Run(str(tmp_path), "cpu"), "03_evaluate", "source", SimpleNamespace())
    assert provenance.finish(note)["commit"] is None


def test_provenance_records_the_instruction_set_that_torch_computes_with():
    code = "from ethical_personas import provenance; print(sorted(provenance.machine()))"
    known = os.environ | {"PYTHONPATH": str(ROOT / "lib")}
    bare, loaded = (
        subprocess.run([sys.executable, "-c", before + code], env=known, capture_output=True, text=True, check=True)
        for before in ("", "import torch;")
    )
    assert bare.stdout == "['cores', 'processor', 'system']\n"
    assert loaded.stdout == "['amx', 'cores', 'instruction_set', 'processor', 'system']\n"
    import torch

    assert provenance.machine()["instruction_set"] == torch.backends.cpu.get_cpu_capability()


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A user's own set-up: another `python3` kernel, a start-up file, a style, all of which would stop a notebook."""
    kernel = tmp_path / "jupyter/kernels/python3/kernel.json"
    startup = tmp_path / "ipython/profile_default/startup/00-mine.py"
    for path in (kernel, startup):
        path.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": ["false", "{connection_file}"], "display_name": "x", "language": "python"}))
    startup.write_text("SCRATCH = '/scratch/me'\nimport builtins\nbuiltins.len = None\n")
    (tmp_path / "style").mkdir()  # not the folder that notebooks run in: one there is for style.use to undo
    (tmp_path / "style/matplotlibrc").write_text("text.usetex: True\nfont.family: serif\n")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "style/matplotlibrc"))
    for variable in (*settings.PLACES, "HF_HOME", "PYTHONUTF8", "PYTHONIOENCODING"):  # put back what isolate() sets
        monkeypatch.setenv(variable, os.environ.get(variable, ""))


@pytest.mark.long
@pytest.mark.usefixtures("foreign")
def test_a_notebook_runs_in_this_interpreters_kernel_whatever_else_is_installed(notebook, tmp_path):
    settings.isolate()
    shown = "import sys, matplotlib\nprint(sys.executable, len('abc'), matplotlib.rcParams['text.usetex'])"
    assert notebook(f"{shown}\nprint('SCRATCH' in globals())") == 0
    (cell,) = [c for c in nbformat.read(tmp_path / "out/n.ipynb", 4).cells if "sys.executable" in c.source]
    assert cell.outputs[0].text == f"{sys.executable} 3 False\nFalse\n"


@pytest.mark.usefixtures("foreign")
def test_a_figure_looks_the_same_under_a_users_matplotlibrc(tmp_path):
    code = "import matplotlib; from ethical_personas.figures import style; style.use(); "
    code += "print(matplotlib.rcParams['text.usetex'], matplotlib.rcParams['font.family'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False ['sans-serif']\n"


def test_a_home_that_cannot_be_written_stops_nothing(tmp_path):
    code = "from ethical_personas.workflow import settings; settings.isolate(); import os, json; "
    code += "print(json.dumps({k: os.environ[k] for k in [*settings.PLACES, 'HF_HOME']}), settings.home_is_writable())"
    known = {k: v for k, v in os.environ.items() if k not in settings.PLACES and k != "HF_HOME"}
    known |= {"HOME": "/dev/null", "PYTHONPATH": str(ROOT / "lib")}
    done = subprocess.run([sys.executable, "-c", code], env=known, capture_output=True, text=True, check=True)
    places, _, writable = done.stdout.strip().rpartition(" ")
    assert writable == "False"
    assert all(Path(place).is_relative_to(ROOT / "runs/cache") for place in json.loads(places).values())
    known["HOME"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], env=known, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.rpartition(" ")[0])["HF_HOME"] == str(tmp_path / ".cache/huggingface")


def test_an_error_of_many_lines_becomes_one(notebook, capsys):
    assert notebook("raise ValueError('first\\n  second')") == 1
    assert capsys.readouterr().err == "error: n: ValueError: first second (kept: out/failed/n.ipynb)\n"


@pytest.mark.long
def test_papermill_by_hand_from_another_folder_with_its_paths_injected(tmp_path):
    """The first cell alone: a notebook of our own whose parameters and check are 04's."""
    book = jupytext.read(ROOT / "notebooks/04_emergent_alignment.py")
    code = [i for i, cell in enumerate(book.cells) if cell.cell_type == "code"]
    book.cells = book.cells[: code[0] + 1]
    check = "from ethical_personas.study import parameters\np = parameters.check('04_emergent_alignment', globals())"
    book.cells.append(nbformat.v4.new_code_cell(f"{check}\nprint(p.judge)"))
    nbformat.write(book, tmp_path / "in.ipynb")
    command = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "--inject-paths", "-k", "python3"]
    known = os.environ | {"PYTHONPATH": str(ROOT / "lib")}
    for given, told in (("judge", None), ("jugde", "parameter 'jugde' unknown: did you mean 'judge'")):
        more = ["-p", given, "keyword"]
        done = subprocess.run([*command, *more], cwd=tmp_path, env=known, capture_output=True, text=True)
        assert (done.returncode == 0) == (told is None), done.stderr[-500:]
        text = (tmp_path / "out.ipynb").read_text(encoding="utf-8")
        assert "PAPERMILL_INPUT_PATH" in text and (told or "keyword\\n") in text
