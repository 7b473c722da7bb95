"""run_all.sh where no environment can be made: one line and exit status 2, and the folder is as it was."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ethical_personas.paths import ROOT

FILES = ("run_all.sh", "environment.yml", "requirements.txt", "constraints.txt")
TOOLS = ("awk", "cat", "cksum", "df", "dirname", "mkdir", "rm")  # all that the script calls before it looks for Python
REACHED = 7  # exit status of a stand-in that makes the environment: whatever was to stop the script before has not
BASH = shutil.which("bash")


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

    def run(self):
        """Exit status, and the lines on standard error."""
        done = subprocess.run(
            [BASH, self.folder / "run_all.sh", "help"], env={"PATH": str(self.bin)}, capture_output=True, text=True
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
    assert found == {name: (ROOT / name).read_bytes() for name in FILES}
    assert len(list(clone.folder.iterdir())) == len(FILES)


@pytest.mark.parametrize("version", [None, (3, 9, 18), (3, 10, 14)], ids=str)
@pytest.mark.usefixtures("untouched")
def test_without_conda_and_without_python_3_11_it_says_what_is_needed(clone, version):
    if version:
        clone.python("python3", version)
    status, (line,) = clone.run()
    assert status == 2 and line.startswith("error: Python 3.11 or newer is needed")


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
    (clone.folder / ".venv.lock").mkdir()
    (clone.folder / ".venv.lock/pid").write_text(str(gone.pid))
    clone.put("conda", f"exit {REACHED}")
    assert clone.run() == (REACHED, [])


def test_two_set_ups_do_not_run_at_once(clone):
    with subprocess.Popen([BASH, "-c", "read -r _"], stdin=subprocess.PIPE) as other:
        lock = clone.folder / ".venv.lock"
        lock.mkdir()
        (lock / "pid").write_text(str(other.pid))
        clone.put("conda", f"exit {REACHED}")
        status, (line,) = clone.run()
        assert status == 2 and line.startswith("error: another ./run_all.sh is setting up this clone")
        assert (lock / "pid").read_text() == str(other.pid)  # the other's lock is left to it
