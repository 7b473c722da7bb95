"""The process's own settings: a user's Jupyter, IPython and matplotlib set-up is ignored during a run, as is HOME."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path

from ethical_personas.paths import ROOT

PLACES = {
    "XDG_CACHE_HOME": "cache",
    "MPLCONFIGDIR": "cache/matplotlib",
    "IPYTHONDIR": "cache/ipython",
    "JUPYTER_CONFIG_DIR": "cache/jupyter/config",
    "JUPYTER_DATA_DIR": "cache/jupyter/data",
    "JUPYTER_RUNTIME_DIR": "cache/jupyter/runtime",
}
ELSEWHERE = ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "MATPLOTLIBRC")  # a user's own kernels, configuration and styles


def isolate() -> None:
    """Point every cache and configuration of this process and its children into runs/cache.

    The hub's cache stays where it is, so that models fetched before are found, unless it cannot be written.
    """
    for variable in ELSEWHERE:
        os.environ.pop(variable, None)
    if "HF_HOME" not in os.environ:
        os.environ["HF_HOME"] = str(_hub())
    for variable, place in PLACES.items():
        os.environ[variable] = str(ROOT / "runs" / place)
    os.environ |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}


def printable() -> None:
    """Let this process print any character: one that the terminal cannot show becomes `?`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def home_is_writable() -> bool:
    """Whether a file can be made in the user's home folder."""
    try:
        with tempfile.TemporaryFile(dir=Path.home()):
            return True
    except (OSError, RuntimeError):  # RuntimeError: no home folder is known
        return False


def _hub() -> Path:
    """The hub's cache where the user has it, else one in runs/."""
    try:
        place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return place
    except (OSError, RuntimeError):
        return ROOT / "runs/cache/huggingface"
