"""The graph's job that makes a control arm's training rows from the constitutions'.

python -m ethical_personas.workflow.controls runs/cpu cpu shuffled deontology virtue
"""

from __future__ import annotations

import sys

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.generate import controls
from ethical_personas.run import Run
from ethical_personas.study import rows
from ethical_personas.workflow import leader

if __name__ == "__main__":
    leader.follow()
    run, control = Run(sys.argv[1], sys.argv[2]), sys.argv[3]
    try:
        sets = {name: files.read(run.find(run.sft(name)), rows.SftRow) for name in sys.argv[4:]}
        files.write(run.path(run.sft(control)), controls.rows_of(control, sets))
    except CompanionError as error:
        sys.exit(f"error: {error}")
