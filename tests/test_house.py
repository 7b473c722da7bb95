"""The order of the house: a module imports only what stands before its folder, and none is too long to read."""

import ast
import re

import pytest
from ethical_personas import files
from ethical_personas.paths import ROOT

HOME = ROOT / "lib" / "ethical_personas"
# What each folder may import beside itself and the ground (the modules that lie in no folder).
MAY_IMPORT = {
    "": set(),
    "study": set(),
    "stats": set(),
    "models": {"study"},
    "generate": {"study", "models"},
    "finetune": {"study", "models"},
    "evaluate": {"study", "models"},
    "judge": {"study", "stats", "models"},
    "persona": {"study", "stats", "evaluate"},
    "safety": {"study", "stats", "judge"},
    "projectability": {"study", "stats", "safety", "persona"},
    "figures": {"study", "stats"},
    "claims": {"study", "stats", "safety", "persona", "projectability", "figures"},
    "inspect_tasks": {"study", "stats", "evaluate", "judge", "persona"},  # imported by Inspect alone
}
MODULES = sorted(HOME.rglob("*.py"))


def imported(path):
    """Folders of this package that a module imports from; '' for the ground."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == HOME.name:
            parts = node.module.split(".")[1:] or [node.names[0].name]
            yield parts[0] if (HOME / parts[0]).is_dir() else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOME)))
def test_imports_run_one_way(path):
    folder = path.relative_to(HOME).parts[0] if path.parent != HOME else ""
    if folder != "workflow":  # stands on top of everything
        assert set(imported(path)) <= MAY_IMPORT[folder] | {folder, ""}


def test_every_folder_has_its_place_in_the_order():
    folders = {p.name for p in HOME.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(MAY_IMPORT) - {""} | {"workflow"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOME)))
def test_no_module_is_over_300_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("notebook", ["01_generate", "02_finetune", "03_evaluate"])
def test_making_and_asking_models_needs_no_analysis(notebook):
    text = (ROOT / f"notebooks/{notebook}.py").read_text(encoding="utf-8")
    assert not [f for f in ("judge", "persona", "safety", "claims", "stats") if f"ethical_personas.{f}" in text]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOME)))
def test_a_function_over_45_lines_has_a_reason_above_it(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 45:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            assert lines[first - 2].lstrip().startswith("#"), f"{path.name}: {node.name}"


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ("x" * 72, False),
        ("x" * 73, True),
        ("ä" * 72, False),
        ("🙂" * 73, True),
        ("Short\n\n" + "x" * 200, False),
        ("\n\n" + "x" * 73 + "\nbody", True),  # git leaves out empty lines at the top
    ],
    ids=["72", "73", "72 of two bytes", "73 of four bytes", "body", "empty lines"],
)
def test_a_commits_subject_has_72_characters_at_most(message, refused):
    hooks = files.read_yaml(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    (hook,) = [hook for hook in hooks if hook.get("stages") == ["commit-msg"]]
    assert (hook["language"], hook["args"]) == ("pygrep", ["--multiline"])
    pattern = re.compile(hook["entry"].encode(), re.MULTILINE | re.DOTALL)  # as pre-commit's pygrep has it
    assert bool(pattern.search(message.encode())) == refused
