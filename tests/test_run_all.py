"""run_all.sh where no environment can be made: one line and exit status 2, and the folder is as it was."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ethical_personas.paths import ROOT

LOCKS = ("requirements.lock", "requirements-cuda.lock", "requirements-dev.lock")
FILES = ("run_all.sh", "pyproject.toml", *LOCKS)
TOOLS = (
    "awk",
    "cat",
    "cksum",
    "df",
    "dirname",
    "grep",
    "head",
    "ln",
    "readlink",
    "rm",
)  # all that the script calls before it looks for Python
REACHED = 7  # exit status of a stand-in that makes the environment: whatever was to stop the script before has not
BASH = shutil.which("bash")
MARK = ".venv.companion"


class Clone:
    """A copied folder and a PATH that holds the script's own tools and the stand-ins written here."""

    def __init__(self, place: Path):
        self.folder, self.bin = place / "clone", place / "bin"
        self.folder.mkdir()
        self.bin.mkdir()
        for name in FILES:
            shutil.copy(ROOT / name, self.folder)
        for name in TOOLS:
            (self.bin / name).symlink_to(shutil.which(name))
        self.free(100)

    def put(self, name: str, script: str):
        path = self.bin / name
        path.unlink(missing_ok=True)  # never through the link into the system
        path.write_text(f"#!{BASH}\n{script}\n")
        path.chmod(0o755)

    def free(self, gib: int):
        """A disk with so much room."""
        table = f"Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 999999999 1 {gib * 2**20} 1% /"
        self.put("df", f"printf '%s\\n' '{table}'")

    def python(self, name: str, version: tuple):
        """A Python that takes itself for another version; asked for a module, venv say, it has been chosen."""
        pretends = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
        self.put(
            name,
            f'case "$1" in -c) exec "{sys.executable}" -c "{pretends}" "$2" ;; --version) echo Python ;; '
            f"*) exit {REACHED} ;; esac",
        )

    def environment(self, torch: tuple[str, ...] = (), platform: str = "Linux"):
        """An environment of the script's own, with a torch that requires these; its pip writes its calls to `calls`."""
        (self.folder / MARK).write_text("")
        metadata = self.folder / "packages/torch-1.dist-info/METADATA"
        metadata.parent.mkdir(parents=True)
        requires = "".join(f"Requires-Dist: {wanted}\n" for wanted in torch)
        metadata.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: 1\n{requires}")
        pretends = f"import sys, platform; platform.system = lambda: '{platform}'; exec(sys.argv[1])"
        python = self.folder / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(
            f'#!{BASH}\nexport PYTHONPATH="{metadata.parent.parent}"\n'
            f'case "$1" in -c) exec "{sys.executable}" -c "{pretends}" "$2" ;; '
            f'*) echo "$@" >>"{self.folder}/calls" ;; esac\n'
        )
        python.chmod(0o755)

    def calls(self) -> list[str]:
        """What the environment's pip was called with."""
        return [line for line in (self.folder / "calls").read_text().splitlines() if line.startswith("-m pip install")]

    def run(self, script: Path | None = None, cwd: Path | None = None, **variables: str):
        """Exit status, and the lines on standard error."""
        done = subprocess.run(
            [BASH, script or self.folder / "run_all.sh", "help"],
            env={"PATH": str(self.bin)} | variables,
            capture_output=True,
            text=True,
            cwd=cwd,
        )
        return done.returncode, done.stderr.splitlines()


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


@pytest.fixture
def untouched(clone):
    """Held after the test too: the folder's files are the copied ones, byte for byte, and no others."""
    yield
    found = {p.relative_to(clone.folder).as_posix(): p.read_bytes() for p in clone.folder.rglob("*") if p.is_file()}
    found.pop(MARK, None)  # says that a folder named .venv is the script's own
    assert found == {name: (ROOT / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("version", [None, (3, 9, 18), (3, 10, 14)], ids=str)
@pytest.mark.usefixtures("untouched")
def test_without_conda_and_without_python_3_11_it_says_what_is_needed(clone, version):
    if version:
        clone.python("python3", version)
    status, (line,) = clone.run()
    assert status == 2 and line.startswith("error: Python 3.11, 3.12 or 3.13 is needed")


@pytest.mark.parametrize("name", ["python3", "python3.12"])
@pytest.mark.usefixtures("untouched")
def test_a_python_3_11_under_any_name_is_used(clone, name):
    clone.python("python3", (3, 9, 18))
    clone.python(name, (3, 11, 0))
    assert clone.run() == (REACHED, [])


@pytest.mark.parametrize("tool", ["micromamba", "mamba", "conda"])
@pytest.mark.usefixtures("untouched")
def test_conda_brings_a_python_of_its_own(clone, tool):
    clone.python("python3", (3, 9, 18))
    clone.put(tool, f"exit {REACHED}")
    assert clone.run() == (REACHED, [])


@pytest.mark.usefixtures("untouched")
def test_a_python_that_is_named_comes_before_conda(clone):
    clone.put("conda", "exit 1")
    clone.python("named", (3, 12, 0))
    assert clone.run(COMPANION_PYTHON="named") == (REACHED, [])
    assert clone.run(COMPANION_PYTHON=str(clone.bin / "named")) == (REACHED, [])
    assert clone.run(COMPANION_PYTHON="") == (1, [])  # empty is not set


@pytest.mark.parametrize("version", [None, (3, 10, 14), (3, 14, 0)], ids=str)
@pytest.mark.usefixtures("untouched")
def test_a_named_python_that_will_not_do_is_refused_and_no_other_is_taken(clone, version):
    clone.put("conda", f"exit {REACHED}")
    clone.python("python3", (3, 11, 0))
    if version:
        clone.python("named", version)
    told = "error: COMPANION_PYTHON: named does not run or is not Python 3.11 to 3.13; name another"
    assert clone.run(COMPANION_PYTHON="named") == (2, [told])
    assert not (clone.folder / MARK).exists()


@pytest.mark.parametrize("gib", [0, 1, 5])
@pytest.mark.usefixtures("untouched")
def test_on_a_full_disk_nothing_is_begun(clone, gib):
    clone.free(gib)
    clone.put("conda", f"exit {REACHED}")
    status, (line,) = clone.run()
    assert status == 2 and line.startswith(f"error: {gib} GiB free here; ")


@pytest.mark.usefixtures("untouched")
def test_the_room_that_is_asked_for_is_enough(clone):
    clone.free(6)
    clone.put("conda", f"exit {REACHED}")
    assert clone.run() == (REACHED, [])


@pytest.mark.usefixtures("untouched")
def test_a_set_up_that_was_killed_does_not_stop_the_next(clone):
    gone = subprocess.Popen([BASH, "-c", "exit"])
    gone.wait()
    (clone.folder / ".venv.lock").write_text(str(gone.pid))
    clone.put("conda", f"exit {REACHED}")
    assert clone.run() == (REACHED, [])


def test_two_set_ups_do_not_run_at_once(clone):
    with subprocess.Popen([BASH, "-c", "read -r _"], stdin=subprocess.PIPE) as other:
        lock = clone.folder / ".venv.lock"
        lock.write_text(str(other.pid))
        clone.put("conda", f"exit {REACHED}")
        status, (line,) = clone.run()
        assert status == 2 and line.startswith("error: another ./run_all.sh is setting up this clone")
        assert lock.read_text() == str(other.pid)  # the other's lock is left to it


def test_an_environment_that_somebody_else_made_is_left_alone(clone):
    mine = clone.folder / ".venv"
    mine.mkdir()
    (mine / "precious.txt").write_text("mine")
    clone.put("conda", f"exit {REACHED}")
    status, (line,) = clone.run()
    assert status == 2 and line.startswith("error: .venv here was not made by ./run_all.sh")
    assert [p.name for p in mine.iterdir()] == ["precious.txt"]


def test_through_a_link_it_works_in_the_clone_and_not_where_it_was_called(clone, tmp_path):
    elsewhere = tmp_path / "project"
    (elsewhere / ".venv").mkdir(parents=True)
    (elsewhere / ".venv/precious.txt").write_text("mine")
    (elsewhere / "first").symlink_to("../clone/run_all.sh")
    (elsewhere / "link").symlink_to("first")
    clone.put("conda", f'echo "$PWD" >>"{tmp_path}/where"; exit {REACHED}')
    assert clone.run(elsewhere / "link", cwd=elsewhere) == (REACHED, [])
    assert (tmp_path / "where").read_text().strip() == str(clone.folder)
    assert sorted(p.name for p in elsewhere.iterdir()) == [".venv", "first", "link"]
    assert [p.name for p in (elsewhere / ".venv").iterdir()] == ["precious.txt"]


def test_other_pins_are_installed_into_the_environment_and_remove_nothing_from_it(clone):
    clone.environment()
    plugin = clone.folder / ".venv/plugin.txt"
    plugin.write_text("added by hand")
    clone.run()
    calls = "\n".join(clone.calls())
    assert "--require-hashes -r requirements.lock" in calls and "torch==" in calls
    assert plugin.read_text() == "added by hand"
    assert (clone.folder / ".venv/.ready").is_file()


FOR_LINUX = 'nvidia-cublas==13.1; platform_system == "Linux"'


@pytest.mark.parametrize(
    ("platform", "torch", "cuda"),
    [
        ("Linux", ("filelock", FOR_LINUX), True),
        ("Linux", ("cuda-toolkit[cublas]==13.0",), True),
        ("Linux", ("filelock", 'nvidia-dali; extra == "data"'), False),  # nobody asked for the extra
        ("Linux", (), False),
        ("Darwin", ("filelock", FOR_LINUX), False),
    ],
)
def test_cuda_packages_and_their_room_are_asked_for_where_torch_needs_them_on_this_platform(
    clone, platform, torch, cuda
):
    clone.environment(torch, platform)
    clone.free(4)
    assert clone.run() == (0, [])
    assert any("requirements-cuda.lock" in call for call in clone.calls()) == cuda
    (clone.folder / ".venv/.ready").unlink()
    clone.free(3)
    full = (2, ["error: 3 GiB free here; what the CUDA build of torch brings needs 4, free some disk first"])
    assert clone.run() == (full if cuda else (0, []))


def test_an_environment_whose_torch_cannot_be_read_is_not_taken_for_ready(clone):
    clone.environment(("not a requirement",))
    status, lines = clone.run()
    assert status == 1 and any("InvalidRequirement" in line for line in lines)
    assert not (clone.folder / ".venv/.ready").exists()


@pytest.mark.parametrize("index", ["", "https://cpu.example/simple"])
def test_torch_and_nothing_else_comes_from_the_index_that_is_named(clone, index):
    clone.environment()
    clone.run(TORCH_INDEX=index)
    (torch,) = [call for call in clone.calls() if "torch==" in call]
    assert torch.partition("--no-compile ")[2].startswith(f"--index-url {index} torch==" if index else "torch==")
    assert sum("--index-url" in call for call in clone.calls()) == bool(index)


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_a_hash(name):
    blocks = re.split(r"\n(?=\w)", (ROOT / name).read_text().partition("\n")[2])
    assert len(blocks) > 15
    for block in blocks:
        assert re.match(r"[\w.-]+==[\w.]+", block) and "--hash=sha256:" in block, block


def test_the_lock_holds_what_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {part: (ROOT / part).read_text().lower() for part in LOCKS}
    for wanted in project["dependencies"]:
        assert wanted.startswith("torch==") or f"\n{wanted.lower()} " in locked["requirements.lock"], wanted
    for wanted in project["optional-dependencies"]["dev"]:
        assert f"\n{wanted.lower()} " in locked["requirements-dev.lock"], wanted
