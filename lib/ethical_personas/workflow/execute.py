"""Run one notebook with papermill and publish it only when it succeeded.

    python -m ethical_personas.workflow.execute 02_finetune runs/cpu/notebooks/02_finetune-….ipynb '{"seed": 0, …}'

The executed notebook appears under its name by a rename; a failed one is kept in `failed/` beside it,
with its traceback, and the exit status is 1.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from ethical_personas.paths import ROOT, short
from ethical_personas.workflow import leader, settings

LONGEST = 90  # characters of a socket's path, which the system limits


def own_kernel(sockets: str):
    """A kernel manager that starts this interpreter's kernel, whatever `python3` is called elsewhere on the machine.

    It is spoken to through files in the folder `sockets`: ports are drawn before they are bound, and of many jobs
    that start at once two draw the same one.
    """
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class OwnKernel(AsyncKernelManager):
        def __init__(self, **given):
            files = {"transport": "ipc", "ip": f"{sockets}/k"} if len(sockets) < LONGEST else {}
            super().__init__(**files | given)

        @property
        def kernel_spec(self):
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            command += ["--HistoryManager.enabled=False"]  # a database, which some network file systems cannot lock
            return KernelSpec(argv=command, display_name="Python 3", language="python")

    return OwnKernel


def execute(notebook: str, out: Path, parameters: dict) -> int:
    """Execute notebooks/<notebook>.ipynb into `out`; returns the exit status."""
    # Imported late: a command that only checks its arguments needs no papermill.
    import papermill

    failed = out.parent / "failed" / out.name
    failed.parent.mkdir(parents=True, exist_ok=True)
    failed.unlink(missing_ok=True)
    failure = None
    try:
        with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
            papermill.execute_notebook(
                str(ROOT / "notebooks" / f"{notebook}.ipynb"),
                str(failed),
                parameters=parameters,
                kernel_name="python3",
                kernel_manager_class=own_kernel(sockets),
                cwd=str(ROOT),
                progress_bar=False,
            )
    except papermill.PapermillExecutionError as error:
        failure = f"{error.ename}: {error.evalue}"
    except (RuntimeError, OSError) as error:  # a kernel that died (nbclient's DeadKernelError too), a full disk
        failure = f"{type(error).__name__}: {error}"
    if failure:
        print(f"error: {notebook}: {' '.join(failure.split())} (kept: {short(failed)})", file=sys.stderr)
        return 1
    failed.replace(out)
    return 0


if __name__ == "__main__":
    leader.follow()
    settings.isolate()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(execute(sys.argv[1], Path(sys.argv[2]).resolve(), json.loads(sys.argv[3])))
