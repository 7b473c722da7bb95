"""One process at a time, on file systems with flock and without."""

import errno
import os
import socket
import subprocess
import sys

import pytest
from ethical_personas import locks
from ethical_personas.errors import CompanionError


@pytest.fixture(params=["flock", "no flock"])
def kind(request, monkeypatch):
    if request.param == "no flock":

        def refuse(*_):
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(locks.fcntl, "flock", refuse)
    return request.param


def test_the_second_is_refused_and_told_whom_to_stop(tmp_path, kind, capsys):
    path = tmp_path / ".lock"
    with locks.hold(path, "another run") as lock:
        lock.name(os.getpid())
        told = rf"another run is going on in this clone; wait for it or stop it first \(kill -- -{os.getpid()}\)"
        with pytest.raises(CompanionError, match=told), locks.hold(path, "another run"):
            pass
    with locks.hold(path, "another run"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]
    note = "note: this file system has no flock; "
    assert capsys.readouterr().err.startswith(note) if kind == "no flock" else capsys.readouterr().err == ""


def test_without_flock_a_process_that_has_ended_holds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "NO_FLOCK", {errno.EPERM})
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no")))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    owner = tmp_path / ".lock.owner"
    owner.write_text(f"{socket.gethostname()} {gone.pid}")
    with locks.hold(tmp_path / ".lock", "another run"):
        assert owner.read_text() == f"{socket.gethostname()} {os.getpid()}"
    owner.write_text(f"elsewhere {gone.pid}")  # of another machine nothing can be known
    told = r"if no such process lives on elsewhere, remove .*\.lock\.owner"
    with pytest.raises(CompanionError, match=told), locks.hold(tmp_path / ".lock", "another run"):
        pass


def test_another_failure_of_the_lock_is_not_taken_for_a_missing_flock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "disk")))
    with pytest.raises(OSError, match="disk"), locks.hold(tmp_path / ".lock", "another run"):
        pass
