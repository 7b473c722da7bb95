"""Run one notebook with papermill and publish it only when it succeeded.

    python -m ethical_personas.workflow.execute 02_finetune runs/cpu/notebooks/02_finetune-….ipynb '{"seed": 0, …}'

The executed notebook appears under its name by a rename; a failed one is kept in `failed/` beside it,
with its traceback, and the exit status is 1.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ethical_personas.paths import ROOT, short
from ethical_personas.workflow import leader


def execute(notebook: str, out: Path, parameters: dict) -> int:
    """Execute notebooks/<notebook>.ipynb into `out`; returns the exit status."""
    # Imported late: a command that only checks its arguments needs no papermill.
    import papermill
    from nbclient.exceptions import DeadKernelError

    failed = out.parent / "failed" / out.name
    failed.parent.mkdir(parents=True, exist_ok=True)
    failed.unlink(missing_ok=True)
    try:
        papermill.execute_notebook(
            str(ROOT / "notebooks" / f"{notebook}.ipynb"),
            str(failed),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(ROOT),
            progress_bar=False,
        )
    except papermill.PapermillExecutionError as error:
        print(f"error: {notebook}: {error.ename}: {error.evalue} (kept: {short(failed)})", file=sys.stderr)
        return 1
    except DeadKernelError as error:
        print(f"error: {notebook}: {type(error).__name__}: {error} (kept: {short(failed)})", file=sys.stderr)
        return 1
    failed.replace(out)
    return 0


if __name__ == "__main__":
    leader.follow()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(execute(sys.argv[1], Path(sys.argv[2]).resolve(), json.loads(sys.argv[3])))
