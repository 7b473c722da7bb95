"""The graph's job that makes the helpful-only source model, once per run.

python -m ethical_personas.workflow.source_model runs/ladder-270m ladder-270m '{"base_model": …}'
"""

from __future__ import annotations

from ethical_personas.finetune import source_model
from ethical_personas.workflow import job

if __name__ == "__main__":
    job.run_job(lambda *given: print(source_model.make(*given)))
