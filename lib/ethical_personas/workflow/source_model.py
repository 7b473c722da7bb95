"""The graph's job that makes the helpful-only source model, once per run.

python -m ethical_personas.workflow.source_model runs/ladder-270m ladder-270m '{"base_model": …}'
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

from ethical_personas.errors import CompanionError
from ethical_personas.finetune import source_model
from ethical_personas.run import Run
from ethical_personas.workflow import leader

if __name__ == "__main__":
    leader.follow()
    try:
        print(source_model.make(Run(sys.argv[1], sys.argv[2]), SimpleNamespace(**json.loads(sys.argv[3]))))
    except CompanionError as error:
        sys.exit(f"error: {error}")
