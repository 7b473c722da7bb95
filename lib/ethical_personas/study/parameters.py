"""Parameters of a notebook: what its tagged cell declares, and the check of the values given."""

from __future__ import annotations

import ast
from types import SimpleNamespace

import jupytext

from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT
from ethical_personas.study import grid, materials
from ethical_personas.study import profile as profiles
from ethical_personas.study.profile import JOB_PARAMETERS, Profile

SEEN = "_parameters_checked"  # left in a notebook's globals by its first check


def _cells(notebook: str) -> list:
    return [c for c in jupytext.read(ROOT / "notebooks" / f"{notebook}.py").cells if c.cell_type == "code"]


def declared(notebook: str) -> dict:
    """The names and default values in a notebook's `parameters` cell (read from its paired .py)."""
    (cell,) = [c for c in _cells(notebook) if "parameters" in c.metadata.get("tags", [])]
    assigns = [node for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in assigns}


def _assigned(notebook: str) -> set[str]:
    """Names that a notebook's own cells assign: there already when its first cell is run a second time."""
    nodes = [n for cell in _cells(notebook) for n in ast.walk(ast.parse(cell.source))]
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def for_notebook(profile: Profile, notebook: str) -> dict:
    """The profile's values of the parameters that a notebook declares."""
    return {k: getattr(profile, k) for k in declared(notebook) if k not in JOB_PARAMETERS}


def check(notebook: str, variables: dict) -> SimpleNamespace:
    """Check a notebook's parameters as they stand in `variables` (its globals()).

    Unknown simple variables are taken for mistyped parameters; on a second call in one kernel, unless the notebook
    itself has assigned them meanwhile. Raises CompanionError.
    """
    known = declared(notebook)
    own = _assigned(notebook) if variables.get(SEEN) else set()
    variables[SEEN] = True
    simple = (str, int, float, bool, list, type(None))
    for name, value in variables.items():
        hidden = name.startswith("_") or name in {"In", "Out", "exit", "quit"}
        if isinstance(value, simple) and not hidden and name not in known and name not in own:
            raise CompanionError(f"{notebook}: parameter {name!r} unknown: {profiles._choices(name, known)}")
    values = {k: variables[k] for k in known}
    given = values.get("profile", "cpu")
    merged = profiles.load(given).model_dump() | {k: v for k, v in values.items() if k not in JOB_PARAMETERS}
    checked = profiles.check(merged, notebook)
    job = {k: v for k, v in values.items() if k in JOB_PARAMETERS}
    for name in [*([job["constitution"]] if "constitution" in job else []), *job.get("beside", [])]:
        materials.constitution(name)
    if job.get("scope", grid.BROAD) not in grid.SCOPES:
        raise CompanionError(f"{notebook}: field scope: {profiles._choices(str(job['scope']), grid.SCOPES)}")
    return SimpleNamespace(**{k: getattr(checked, k) for k in known if k not in JOB_PARAMETERS}, **job)
