"""Parameters of a notebook: what its tagged cell declares, and the check of the values given."""

from __future__ import annotations

import ast
import contextlib
from types import SimpleNamespace

from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT
from ethical_personas.study import grid, materials, notebooks
from ethical_personas.study import profile as profiles
from ethical_personas.study.profile import JOB_PARAMETERS, Profile


def declared(notebook: str) -> dict:
    """The names and default values in a notebook's `parameters` cell (read from its paired .py)."""
    (cell,) = [c for c in notebooks.script(ROOT / "notebooks" / f"{notebook}.py") if "parameters" in c.tags]
    assigns = [node for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in assigns}


def _given(variables: dict) -> set[str]:
    """Names that papermill injected in this kernel, or that a person wrote into the parameters cell.

    A user's start-up file and a scratch cell define names too; those are no parameters. PAPERMILL_* is what
    `papermill --inject-paths` adds.
    """
    found = set()
    for source in variables.get("In", []):
        with contextlib.suppress(SyntaxError):  # a cell with a magic in it
            nodes = [n for n in ast.parse(source).body if isinstance(n, ast.Assign)]
            names = {t.id for node in nodes for t in node.targets if isinstance(t, ast.Name)}
            if source.startswith("# Parameters\n") or {"profile", "run_dir"} <= names:
                found |= names
    return {name for name in found if not name.startswith("PAPERMILL_")}


def for_notebook(profile: Profile, notebook: str) -> dict:
    """The profile's values of the parameters that a notebook declares."""
    return {k: getattr(profile, k) for k in declared(notebook) if k not in JOB_PARAMETERS}


def check(notebook: str, variables: dict) -> SimpleNamespace:
    """Check a notebook's parameters as they stand in `variables` (its globals()).

    Returns:
        Every declared parameter as an attribute.

    Raises:
        CompanionError: a parameter is unknown, missing or has a value that cannot be.
    """
    known = declared(notebook)
    for name in sorted(_given(variables) - set(known)):
        raise CompanionError(f"{notebook}: parameter {name!r} unknown: {profiles._choices(name, known)}")
    gone = next((name for name in known if name not in variables), None)
    if gone:
        raise CompanionError(f"{notebook}: parameter {gone!r} has no value: run the parameters cell first")
    values = {k: variables[k] for k in known}
    given = values.get("profile", "cpu")
    merged = profiles.load(given).model_dump() | {k: v for k, v in values.items() if k not in JOB_PARAMETERS}
    checked = profiles.check(merged, notebook)
    job = {k: v for k, v in values.items() if k in JOB_PARAMETERS}
    if "constitution" in job:  # the notebook of one has one teacher
        own = profiles.teacher_of(checked.teacher, job["constitution"])
        checked = checked.model_copy(update={"teacher": own})
    for name in [*([job["constitution"]] if "constitution" in job else []), *job.get("beside", [])]:
        if name not in grid.CONTROLS:
            materials.constitution(name)
    if job.get("scope", grid.BROAD) not in grid.SCOPES:
        raise CompanionError(f"{notebook}: field scope: {profiles._choices(str(job['scope']), grid.SCOPES)}")
    return SimpleNamespace(**{k: getattr(checked, k) for k in known if k not in JOB_PARAMETERS}, **job)
