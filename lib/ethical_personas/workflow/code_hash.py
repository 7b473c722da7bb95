"""What a notebook's code is, as one hash: prose, comments and docstrings may change without a rerun."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ethical_personas.paths import ROOT
from ethical_personas.study import notebooks

PACKAGE = "ethical_personas"
LIB = ROOT / "lib"
HEAVY = (
    *(f"{PACKAGE}.workflow.{job}" for job in ("source_model", "source_answers", "control_rows")),
    *("01_generate", "02_finetune", "03_evaluate"),
)
# 01-03 only show things with the figures and write nothing of them: a corrected figure must not train a model again.
BY_NAME = f"{PACKAGE}.judge.judging"  # imports its judges by name at run time: all of its folder counts
SHOWN_ONLY = (f"{PACKAGE}.figures",)


def version(stage: str) -> str:
    """Hash of a notebook's code (or of a module, by its full name) and of every module of ours that it imports."""
    if stage.startswith(f"{PACKAGE}."):
        named, own = {stage}, ""
    else:
        cells = notebooks.script(ROOT / "notebooks" / f"{stage}.py")
        code = [c for c in cells if c.kind == "code" and "parameters" not in c.tags]
        tree = ast.parse("\n".join(c.source for c in code))
        named, own = _imports(ast.walk(tree), ""), ast.dump(tree)
    apart = SHOWN_ONLY if stage in HEAVY else ()
    parts = [own, *(f"{m}={_module(m)[0]}" for m in sorted(_reachable(frozenset(named), apart)))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _file(module: str) -> Path | None:
    place = LIB / module.replace(".", "/")
    found = [p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()]
    return found[0] if found else None


@cache
def _module(name: str) -> tuple[str, frozenset[str]]:
    """Hash of a module's code without docstrings, and what it imports of ours; each module is read once."""
    path = _file(name)
    assert path, name
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    for node in nodes:
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            del body[0]  # a docstring
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), frozenset(_imports(nodes, name))


def _imports(nodes: Iterable[ast.AST], module: str) -> set[str]:
    """Names of lib modules that a tree imports, its nodes given."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith(PACKAGE)}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE):
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return {m for m in found - {PACKAGE, module} if _file(m)}


@cache
def _reachable(modules: frozenset[str], apart: tuple[str, ...]) -> frozenset[str]:
    seen, todo = set(), list(modules)
    while todo:
        name = todo.pop()
        if name not in seen and not f"{name}.".startswith(tuple(f"{folder}." for folder in apart)):
            seen.add(name)
            todo += _module(name)[1]
            if name == BY_NAME:
                todo += [f"{PACKAGE}.judge.{p.stem}" for p in (LIB / PACKAGE / "judge").glob("[!_]*.py")]
    return frozenset(seen)
