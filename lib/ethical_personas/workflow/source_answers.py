"""The graph's job that makes the source's answers, once per run.

python -m ethical_personas.workflow.source_answers runs/cpu cpu '{"base_model": …}'
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

from ethical_personas.errors import CompanionError
from ethical_personas.generate import source_answers
from ethical_personas.run import Run
from ethical_personas.workflow import leader

if __name__ == "__main__":
    leader.follow()
    try:
        source_answers.make(Run(sys.argv[1], sys.argv[2]), SimpleNamespace(**json.loads(sys.argv[3])))
    except CompanionError as error:
        sys.exit(f"error: {error}")
