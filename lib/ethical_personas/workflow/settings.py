"""The process's own settings: a user's Jupyter, IPython and matplotlib set-up has no say in a run, nor has HOME."""

from __future__ import annotations

import io
import os
import sys
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
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    hub = cache / "huggingface"
    if "HF_HOME" not in os.environ and (hub.is_dir() or _writable(cache)):
        os.environ["HF_HOME"] = str(hub)
    for variable, place in PLACES.items():
        os.environ[variable] = str(ROOT / "runs" / place)
    os.environ |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}


def printable() -> None:
    """Let this process print any character: one that the terminal cannot show becomes `?`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _writable(folder: Path) -> bool:
    """Whether a folder, or the nearest one above it that exists, can be written to."""
    there = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    return there.is_dir() and os.access(there, os.W_OK)
