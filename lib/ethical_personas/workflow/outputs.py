"""The figures and tables that each notebook leaves: one list for the graph and for the tests that hold a run to it."""

from __future__ import annotations

PLOTTED = (".svg", ".png")
TABULATED = (".csv", ".md")

# Figures, each with the table of its numbers; then tables alone.
FIGURES = {
    "01_generate": ("words_{constitution}",),
    "04_emergent_alignment": (
        "safety_heatmap",
        "safety_corners",
        "safety_gains",
        "safety_transfer",
        "safety_registers",
        "safety_by_seed",
        "safety_added",
        "safety_dose",
        "capability",
        "judge_report",
    ),
    "05_persona": (
        "persona_profile",
        "persona_identification",
        "persona_replication",
        "persona_c4",
        "persona_voice",
        "persona_ambiguity",
        "persona_reliability",
        "persona_dilemmas",
        "persona_content",
    ),
    "06_projectability": ("projectability", "projectability_by_form", "projectability_ranks"),
}
TABLES = {
    "01_generate": ("principles_{constitution}",),
    "04_emergent_alignment": (
        "safety_missing",
        "scopes",
        "safety_held_out",
        "safety_by_category",
        "safety_by_register",
        "safety_pairs",
        "safety_by_form",
        "capability_skills",
        "safety_bars",
        "coherence",
        "safety_corrected",
        "judge_readings",
        "judge_rates",
        "judge_swap",
        "judge_disagreements",
    ),
    "05_persona": (
        "persona_registered",
        "persona_registered_cells",
        "registration_2",
        "persona_identification_tests",
        "persona_pooled",
        "persona_lexical",
        "persona_pairs",
        "persona_voice_ceiling",
        "persona_voice_readers",
        "persona_voice_arms",
        "persona_acquiescence",
        "persona_lens_agreement",
        "persona_position_bias",
        "persona_dilemma_choices",
        "persona_dilemma_arms",
        "persona_lenses",
        "persona_top_items",
    ),
    "06_projectability": (
        "projectability_safety",
        "projectability_voice",
        "voice_declined",
        "projectability_persona",
        "projectability_differences",
        "projectability_reversals",
        "claims",
        "claims_units",
        "claims_power",
        "claims_history",
        "claims_history_runs",
        "claims_specifications",
    ),
}
CLAIMS = "claims.json"
LADDER = "ladder"  # figure and table over several runs, where a profile names them
SUMMARY = ("summary.md", "provenance.json")
EXTRA = "persona_extra"  # of 05, where one more instrument is asked
MORAL = "persona_moral_choice"  # of 05, where a MoralChoice file is named
RUNG = ("safety_gains", "voice_declined", "persona_replication", "persona_identification")
SETS = ("safety_eval_sets", "safety_eval_sets_categories")  # of 04, where sets from files are asked


def figures(notebook: str, folder: str) -> list[str]:
    """Files of a notebook's figures; of 01 with `{constitution}` for its name."""
    return [f"{folder}/{name}{end}" for name in FIGURES[notebook] for end in PLOTTED]


def tables(notebook: str, folder: str, more: tuple[str, ...] = ()) -> list[str]:
    """Files of a notebook's tables, those behind its figures included; `more`: further ones of this run."""
    names = (*FIGURES[notebook], *TABLES[notebook], *more)
    return [f"{folder}/tables/{name}{end}" for name in names for end in TABULATED]


def rung(run: str) -> list[str]:
    """Files of a run that its rung of the ladder is read from."""
    return [f"figures/{run}/provenance.json", *(f"figures/{run}/tables/{name}.csv" for name in RUNG)]


def ladder(folder: str) -> list[str]:
    """Files of the ladder of sizes."""
    return [f"{folder}/{LADDER}{end}" for end in PLOTTED] + [f"{folder}/tables/{LADDER}{end}" for end in TABULATED]


def list_extra_tables(persona_evals: bool, eval_sets: bool, moral_choice: bool = False) -> dict[str, tuple[str, ...]]:
    """Tables that a notebook leaves where a parameter asks for more."""
    beside = {EXTRA: persona_evals, MORAL: moral_choice}
    return {
        "04_emergent_alignment": SETS if eval_sets else (),
        "05_persona": tuple(name for name, asked in beside.items() if asked),
    }


def list_all_files(folder: str, constitutions: list[str], more: dict[str, tuple[str, ...]] | None = None) -> list[str]:
    """Every file that a run leaves in figures/<name>.

    Args:
        constitutions: those whose training rows are at hand.
        more: further tables by notebook, of `list_extra_tables`.
    """
    found = [f"{folder}/{name}" for name in (CLAIMS, *SUMMARY)]
    for notebook in FIGURES:
        files = figures(notebook, folder) + tables(notebook, folder, (more or {}).get(notebook, ()))
        places = constitutions if notebook == "01_generate" else [""]
        found += [f.format(constitution=c) for c in places for f in files]
    return found
