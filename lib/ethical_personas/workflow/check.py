"""Everything that can be known to be wrong before a run: data files, ids, overlap, signatures."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from pathlib import Path

from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import instrument, moral_scenarios, set_files
from ethical_personas.finetune import instructions
from ethical_personas.generate import controls, training_rows
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT, short, tool
from ethical_personas.run import Run
from ethical_personas.study import grid, inputs, materials, notebooks
from ethical_personas.study import profile as profiles
from ethical_personas.study.profile import Profile

NEAR = 0.8  # share of word trigrams in common from which two prompts count as the same


# Long: the checks of a run, in the order in which a user would fix them.
def check_all(profile: Profile) -> None:
    """Read all bundled data under a profile; raises CompanionError at the first fault."""
    pairs()
    gone = next((f for f in inputs.fixed() if not (ROOT / f).is_file()), None)
    if gone:
        raise CompanionError(f"{gone}: no such file; restore it: git checkout -- {gone}")
    models(profile)
    train, evaluation = materials.prompts("train"), materials.prompts("eval")
    _unique([p.id for p in train + evaluation], "data/prompts")
    _once(train)
    _apart(train, evaluation)
    wanted = {p.id for p in train if p.category in grid.CATEGORIES}
    twins = {p.id: p for p in train if p.category == grid.PAIRED}
    _covers(twins, {training_rows.twin_of(i) for i in wanted}, f"data/prompts/{grid.PAIRED}.jsonl")
    for name in profile.constitutions:
        law = materials.constitution(name)
        if name not in profile.live:
            recorded = materials.transcripts(name)
            _covers(recorded, wanted, f"data/transcripts/{name}.jsonl")
            lost = next((r for r in training_rows.bundled_rows(name, profile.revision_style) if r.dropped), None)
            if lost:
                raise CompanionError(
                    f"data/transcripts/{name}.jsonl: row {lost.id}: revision is {lost.dropped}; fix it"
                )
            known = {p.id for p in law.principles}
            for row in recorded.values():
                if row.principle not in known:
                    where = f"data/transcripts/{name}.jsonl: row {row.id}"
                    raise CompanionError(f"{where}: principle {row.principle!r} is not in the constitution; correct it")
    for scope in profile.scopes:
        rows = training_rows.harmful_rows(scope, profile.rows_per_scope)
        share, rest = divmod(rows, len(grid.SCOPES[scope]))
        least = min(sum(p.category == c for p in train) for c in grid.SCOPES[scope])
        if rest or share > least:
            raise CompanionError(
                f"field rows_per_scope: {rows} asked; {scope!r} needs a multiple of "
                f"{len(grid.SCOPES[scope])}, at most {least * len(grid.SCOPES[scope])}"
            )
    for kind in grid.TRAINED:
        asked, have = getattr(profile, f"{kind}_rows"), sum(p.category == kind for p in train)
        if asked > have:
            raise CompanionError(f"field {kind}_rows: {asked} asked, there are {have} training prompts; lower it")
    _controls(profile, train)
    _dose(profile)
    if profile.persona_evals:
        instrument.load_items(profile.persona_evals, profile.persona_evals_limit)
    moral_scenarios.load_scenarios(profile.moral_choice)
    set_files.read_present(profile.eval_sets)  # what a run takes can be said without the others: `all_there`
    _covers(materials.initial_answers(), wanted, "data/transcripts/initial.jsonl")
    _signatures()
    materials.dilemmas()
    _analysis()


def _controls(profile: Profile, train) -> None:
    """Raise when a control arm of the run cannot be made."""
    for name in profile.controls:
        how, kind = grid.STUDY.controls[name].answers, grid.TRAINED[0]
        if how == "variants":
            controls.variants(name)
        if how == "shuffled" and len(controls.donors(profile)) < 2:
            raise CompanionError(f"field controls: {name!r} needs two constitutions at least; leave it out of controls")
        if how == "none":
            harmful = max(training_rows.harmful_rows(scope, profile.rows_per_scope) for scope in profile.scopes)
            asked = getattr(profile, f"{kind}_rows") + harmful
            have = sum(p.category == kind for p in train)
            if asked > have:
                raise CompanionError(
                    f"field controls: {name!r} needs {asked} {kind} training prompts, there are {have}; "
                    f"lower {kind}_rows or leave it out of controls"
                )


def _signatures() -> None:
    """Raise when signatures and items do not speak of the same dimensions."""
    dimensions, signatures = {i.dimension for i in materials.items()}, materials.signatures()
    for dimension in sorted(dimensions):
        where = f"data/persona/items.jsonl: dimension {dimension!r}"
        if dimension not in grid.STUDY.dimensions:
            raise CompanionError(f"{where} is not in data/study.yaml; add it")
        if not any(dimension in signs for signs in signatures.values()):
            raise CompanionError(f"{where} is in no file of data/persona/signatures; add it")
    shared = {d for name in grid.REFERENCE for d in signatures.get(name, {})}
    for name, signs in signatures.items():
        odd = set(signs) - dimensions or (shared - set(signs) if name in grid.REFERENCE else set())
        if odd:
            where = f"data/persona/signatures/{name}.yaml"
            raise CompanionError(f"{where}: dimension {min(odd)!r}: its dimensions differ from the items'; correct it")


def pairs(folder: Path = ROOT / "notebooks") -> None:
    """Raise when a notebook and its paired .py differ: papermill runs the one, the graph watches the other."""
    for name in profiles.NOTEBOOKS:
        script, book = folder / f"{name}.py", folder / f"{name}.ipynb"
        try:
            same = notebooks.script(script) == notebooks.notebook(book) or _same_by_jupytext(script, book)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # any JSON may stand there
            raise CompanionError(
                f"{short(book)}: not a notebook, or {script.name} is gone ({error}); restore both"
            ) from None
        if not same:
            raise CompanionError(
                f"{short(book)} and its pair {script.name} differ; to take the later edit over into both: "
                f"{tool('jupytext')} --sync {short(book)}"
            )


def _same_by_jupytext(*paths: Path) -> bool:
    """Whether two files hold the same cells. jupytext knows every case, magics too, but takes seconds to load."""
    import jupytext

    books = [jupytext.read(path).cells for path in paths]
    first, second = ([(c.cell_type, c.source.strip(), c.metadata.get("tags", [])) for c in book] for book in books)
    return first == second


def one_source(run: Run, profile: Profile) -> None:
    """Raise when `figures` would read some models from this run and others from the profile's.

    A run with overrides that was stopped half-way holds responses of another recipe than its profile's.
    """
    cells = [c.name for c in grid.cells(profile.constitutions, profile.scopes, profile.seeds, profile.controls)]
    steps = [f"{c}@{s}" for c in profile.dose_cells if c in cells for s in profile.dose_steps]
    wanted = [grid.SOURCE, *cells, *steps]
    missing = [m for m in wanted if not run.path(run.evaluation(m, inputs.RESPONSES)).is_file()]
    if 0 < len(missing) < len(wanted):
        raise CompanionError(
            f"{run.run_dir}: unfinished, {len(missing)} of {len(wanted)} models have no responses ({missing[0]}); "
            "finish it by the same command without `figures`, or remove it"
        )


def models(profile: Profile) -> None:
    """Raise when a model or form that the profile needs is missing; nothing is fetched."""
    kind, _, rest = profile.base_model.partition(":")
    if kind == "wheel" and rest not in base_models.WHEELS:
        raise CompanionError(
            f"field base_model: wheel {rest!r} is not pinned; known is {', '.join(base_models.WHEELS)}"
        )
    if kind == "hf" and not re.fullmatch(r"[^@\s]+@[^@\s]+", rest):
        raise CompanionError(f"field base_model: {profile.base_model!r} names no revision; write hf:<hub id>@<commit>")
    if profile.source_stage == "sft":
        instructions.check(profile.source_data)
    chosen = profile.base_model, profile.chat_template, profile.system_prompt
    live = next(iter(profile.live.values()), "bundled")
    if chosen != base_models.PROVEN or live == "local":
        from ethical_personas.finetune import targets  # late: torch takes seconds, and the default needs no check

        targets.check(profile)
    for role, how, needed in (("teacher", live, ("api",)), ("judge", profile.judge, ("hf", "api"))):
        model = getattr(profile, f"{role}_model")
        if how in needed and not model:
            raise CompanionError(f"field {role}_model: {role} {how} needs one; -p {role}_model NAME")
        if how == "hf":
            from ethical_personas.judge import hf

            hf.parse(model)


def _analysis() -> None:
    """Read what only 04-06 need, so that a fault in it stops the run before the models are trained."""
    from ethical_personas.claims import decide  # late: the statistics libraries take seconds
    from ethical_personas.judge import bundled, calibration

    decide.declared()
    bundled.artefact()
    calibration.read_labels()


def _once(train) -> None:
    """Raise when two training prompts, of any kinds, have the same words."""
    seen = {}
    for prompt in train:
        words = " ".join(re.findall(r"\w+", prompt.prompt.lower()))
        if words in seen:
            raise CompanionError(f"data/prompts: {seen[words]} and {prompt.id} are one training prompt; remove one")
        seen[words] = prompt.id


def _dose(profile: Profile) -> None:
    """Raise when a dose cell of the grid is to be kept at a step that its training never reaches."""
    harmless = sum(getattr(profile, f"{kind}_rows") for kind in grid.TRAINED)
    for cell in grid.cells(profile.constitutions, profile.scopes, profile.seeds, profile.controls):
        if cell.name not in profile.dose_cells:
            continue
        rows = 2 * training_rows.harmful_rows(cell.scope, profile.rows_per_scope) + harmless  # with their twins
        batches = math.ceil(rows / profile.batch_size)
        steps = math.ceil(profile.epochs * math.ceil(batches / profile.gradient_accumulation))
        late = [step for step in profile.dose_steps if step > steps]
        if late:
            raise CompanionError(f"field dose_steps: {late[0]} asked, training has {steps} steps; choose smaller ones")


def _unique(ids: list[str], where: str) -> None:
    twice = [i for i, n in Counter(ids).items() if n > 1]
    if twice:
        raise CompanionError(f"{where}: id {twice[0]!r} stands in two files; give each prompt its own")


def _covers(rows: dict, wanted: set[str], where: str) -> None:
    missing = sorted(wanted - set(rows))
    if missing:
        raise CompanionError(f"{where}: no row for prompt {missing[0]!r} ({len(missing)} missing); add them")


def grams(text: str) -> set[tuple[str, ...]]:
    """Word trigrams of a prompt, letters only, lower case; the words themselves when there are fewer than three."""
    words = re.findall(r"[a-z0-9']+", text.lower())
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)} or {tuple(words)}


def _apart(train, evaluation) -> None:
    """Raise when an evaluation prompt is in the training split too, exactly or nearly (Jaccard of trigrams)."""
    known, having = [grams(p.prompt) for p in train], defaultdict(set)
    for i, theirs in enumerate(known):
        for gram in theirs:
            having[gram].add(i)
    for prompt in evaluation:
        mine = grams(prompt.prompt)
        for i in sorted(set().union(*(having[gram] for gram in mine))):  # with any other it has no trigram in common
            if len(mine & known[i]) / len(mine | known[i]) >= NEAR:
                raise CompanionError(
                    f"data/prompts: evaluation prompt {prompt.id} is nearly training prompt {train[i].id}; reword one"
                )
