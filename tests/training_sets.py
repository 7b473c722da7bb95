"""Training sets for tests: the bundled revisions, and harmless rows with an answer of their own."""

from ethical_personas.generate import training_rows
from ethical_personas.study import grid, materials


def answered(cut=False):
    """Harmless rows of every training prompt, each with the same answer; `cut`: as if no answer had ended."""
    prompts = materials.prompts("train", *grid.HARMLESS)
    return training_rows.harmless_rows(
        {p.id: ("Gladly: begin with the first part of it.", not cut) for p in prompts}, "source"
    )


def chosen(constitution, scope, *numbers, cut=False):
    """The set of one cell; `numbers`: harmful rows, then those of each trained kind."""
    found = training_rows.bundled_rows(constitution, "plain") + answered(cut)
    return training_rows.select(found, scope, *numbers)
