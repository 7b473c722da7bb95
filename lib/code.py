"""What a notebook's code is, as one hash: prose, comments and docstrings may change without a rerun."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

import jupytext

from lib.materials import ROOT


def version(stage: str) -> str:
    """Hash of a notebook's code (or, for `lib.<module>`, a module's) and of every lib module it imports."""
    if stage.startswith("lib."):
        modules = _reachable(stage)
        own = ""
    else:
        cells = jupytext.read(ROOT / "notebooks" / f"{stage}.py").cells
        code = "\n".join(
            c.source for c in cells if c.cell_type == "code" and "parameters" not in c.metadata.get("tags", [])
        )
        tree = ast.parse(code)
        modules = set().union(*(_reachable(m) for m in _imports(tree, "")))
        own = ast.dump(tree)
    parts = [own, *(f"{m}={_normal(m)}" for m in sorted(modules))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _file(module: str) -> Path | None:
    place = ROOT / module.replace(".", "/")
    found = [p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()]
    return found[0] if found else None


@cache
def _tree(module: str) -> ast.Module:
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0] = ast.Pass()  # a docstring
    return tree


@cache
def _normal(module: str) -> str:
    return hashlib.sha256(ast.dump(_tree(module)).encode()).hexdigest()


def _imports(tree: ast.AST, module: str) -> set[str]:
    """Names of lib modules that a tree imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("lib")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lib"):
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return {m for m in found - {"lib", module} if _file(m)}


@cache
def _reachable(module: str) -> frozenset[str]:
    seen, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += _imports(_tree(name), name)
    return frozenset(seen)
