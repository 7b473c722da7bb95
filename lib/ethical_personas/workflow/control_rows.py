"""The graph's job that makes the training rows of one control arm.

python -m ethical_personas.workflow.control_rows runs/cpu cpu plain '{"constitutions": …}'
"""

from __future__ import annotations

from ethical_personas.generate import controls
from ethical_personas.workflow import job

if __name__ == "__main__":
    job.run_job(controls.make)
