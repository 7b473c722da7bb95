"""One process at a time: flock, or, where the file system has none, a file that names its owner."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from ethical_personas.errors import CompanionError
from ethical_personas.paths import short

NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


class Lock:
    """A lock that is held.

    Attributes:
        descriptor: of the lock's file. A child that inherits it holds the lock too, where there is flock.
    """

    def __init__(self, descriptor: int, owner: Path | None):
        self.descriptor, self.owner = descriptor, owner

    def name(self, pid: int) -> None:
        """Write down which process works under the lock, for those who are refused."""
        os.pwrite(self.descriptor, f"{pid:<10}".encode(), 0)
        if self.owner:
            self.owner.write_text(f"{socket.gethostname()} {pid}")


@contextlib.contextmanager
def hold(path: Path, what: str, wait: bool = False) -> Iterator[Lock]:
    """Hold the lock `path`.

    Args:
        what: who holds it otherwise, for the error: "another run".
        wait: wait for it instead of raising.

    Raises:
        CompanionError: another process holds it, named with its process group where that is known.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    owner = None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise _busy(what, os.pread(descriptor, 10, 0).decode().strip()) from None
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
            owner = _owned(path, what, wait)
        os.ftruncate(descriptor, 0)
        yield Lock(descriptor, owner)
    finally:
        os.close(descriptor)
        if owner:
            owner.unlink(missing_ok=True)


def _busy(what: str, pid: str, more: str = "") -> CompanionError:
    how = f" (kill -- -{pid})" if pid else ""
    return CompanionError(f"{what} is going on in this clone; wait for it or stop it first{how}{more}")


def _owned(path: Path, what: str, wait: bool) -> Path:
    """Make the owner's file beside `path`; one whose process has ended is replaced."""
    owner = path.with_name(f"{path.name}.owner")
    print(f"note: this file system has no flock; {short(owner)} guards against a second run", file=sys.stderr)
    while True:
        try:
            with owner.open("x") as file:
                file.write(f"{socket.gethostname()} {os.getpid()}")
            return owner
        except FileExistsError:
            host, _, pid = owner.read_text().partition(" ")
        if host == socket.gethostname() and pid and not psutil.pid_exists(int(pid)):
            owner.unlink(missing_ok=True)
        elif wait:
            time.sleep(0.5)
        else:
            raise _busy(what, pid, f"; if no such process lives on {host or 'its machine'}, remove {short(owner)}")
