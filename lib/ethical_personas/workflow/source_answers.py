"""The graph's job that makes the source's answers, once per run.

python -m ethical_personas.workflow.source_answers runs/cpu cpu '{"base_model": …}'
"""

from __future__ import annotations

from ethical_personas.generate import source_answers
from ethical_personas.workflow import job

if __name__ == "__main__":
    job.run_job(source_answers.make)
