"""The graph's job that draws what sets a constitution's training rows apart; notebook 01 shows the same.

python -m ethical_personas.workflow.words runs/cpu cpu figures/cpu virtue plain

A job of its own, so that a figure that is gone is drawn again without making the rows again, on which training rests.
"""

from __future__ import annotations

import sys

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.figures import style, training
from ethical_personas.generate import tables, training_rows
from ethical_personas.run import Run
from ethical_personas.study import grid, rows


def draw(run: Run, folder: str, constitution: str, revision_style: str) -> None:
    """Write words_<constitution> (figure and table) and principles_<constitution> (table)."""
    found = files.read(run.find(run.sft(constitution)), rows.SftRow)
    own = [r.answer for r in found if r.kind == "harmful" and not r.dropped]
    texts = training_rows.revisions_of(sorted(grid.REFERENCE), revision_style) | {constitution: own}
    table = tables.distinctive_words(texts, constitution)
    style.use()
    style.save(training.plot_words(table, constitution, len(own)), table, folder, f"words_{constitution}")
    style.save(None, tables.principles_used(found), folder, f"principles_{constitution}")


if __name__ == "__main__":
    run_dir, profile, *rest = sys.argv[1:6]
    try:
        draw(Run(run_dir, profile), *rest)
    except CompanionError as error:
        sys.exit(f"error: {error}")
