"""The graph's job that makes the training rows of one control arm.

python -m ethical_personas.workflow.control_rows runs/cpu cpu plain '{"constitutions": …}'
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

from ethical_personas.errors import CompanionError
from ethical_personas.generate import controls
from ethical_personas.run import Run
from ethical_personas.workflow import leader

if __name__ == "__main__":
    leader.follow()
    run_dir, profile, name, given = sys.argv[1:5]
    try:
        controls.make(Run(run_dir, profile), name, SimpleNamespace(**json.loads(given)))
    except CompanionError as error:
        sys.exit(f"error: {error}")
