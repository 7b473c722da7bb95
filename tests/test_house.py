"""The order of the house: a module imports only what stands before its folder, and none is too long to read."""

import ast
import os
import re
import subprocess
import sys

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


def imported(text: str, package: tuple[str, ...] = ()):
    """Folders of this package that a text imports from; '' for the ground. `package`: where relative imports start."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            named = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = [*package[: len(package) + 1 - node.level]] if node.level else []
            start += node.module.split(".") if node.module else []
            named = [[*start, alias.name] for alias in node.names]
        else:
            continue
        for top, *rest in named:
            if top == HOME.name:
                yield rest[0] if rest and (HOME / rest[0]).is_dir() else ""


def lengthy(text: str) -> list[str]:
    """Names of functions over 45 lines without a comment above them."""
    lines, found = text.splitlines(), []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 45:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first < 2 or not lines[first - 2].lstrip().startswith("#"):
                found.append(node.name)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOME)))
def test_imports_run_one_way(path):
    folder = path.relative_to(HOME).parts[0] if path.parent != HOME else ""
    if folder != "workflow":  # stands on top of everything
        found = set(imported(path.read_text(encoding="utf-8"), path.relative_to(HOME.parent).parts[:-1]))
        assert found <= MAY_IMPORT[folder] | {folder, ""}


def test_every_folder_has_its_place_in_the_order():
    folders = {p.name for p in HOME.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(MAY_IMPORT) - {""} | {"workflow"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOME)))
def test_no_module_is_over_300_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("notebook", ["01_generate", "02_finetune", "03_evaluate"])
def test_making_and_asking_models_needs_no_analysis(notebook):
    text = (ROOT / f"notebooks/{notebook}.py").read_text(encoding="utf-8")
    assert not set(imported(text)) & {"judge", "persona", "safety", "claims", "stats"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOME)))
def test_a_function_over_45_lines_has_a_reason_above_it(path):
    assert not lengthy(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "folders"),
    [
        ("from ethical_personas.claims import decide", {"claims"}),
        ("from ethical_personas.claims.decide import evaluate", {"claims"}),
        ("from ethical_personas import claims", {"claims"}),
        ("from ethical_personas import files, claims", {"", "claims"}),
        ("import ethical_personas.claims.decide", {"claims"}),
        ("import json, ethical_personas.claims as c", {"claims"}),
        ("def late():\n    from ethical_personas.claims import decide", {"claims"}),
        ("from ..claims import decide", {"claims"}),
        ("from .. import claims, files", {"", "claims"}),
        ("from ..claims.decide import evaluate", {"claims"}),
        ("from . import voice", {"persona"}),
        ("from .voice import heard", {"persona"}),
        ("from ethical_personas.files import read", {""}),
        ("from ..files import read", {""}),
        ("import claims\nfrom claims import decide\nfrom ethical import personas", set()),
    ],
)
def test_an_import_is_seen_however_it_is_written(text, folders):
    assert set(imported(text, (HOME.name, "persona"))) == folders


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_long_function_is_seen(kind):
    body = "\n".join(["    x = 1"] * 45)
    assert lengthy(f"\n{kind} long():\n{body}") == lengthy(f"{kind} long():\n{body}") == ["long"]
    assert lengthy(f"# Long: one table.\n{kind} long():\n{body}") == []
    assert lengthy(f"{kind} short():\n" + body.partition("\n")[2]) == []


def test_hooks_run_what_the_linters_run_wherever_the_environment_lies():
    hooks = files.read_yaml(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    commands = [hook["entry"].split()[0] for hook in hooks if hook["language"] == "system"]
    script = (ROOT / "run_all.sh").read_text(encoding="utf-8")
    lint = re.search(r"^lint\(\) \{\n(.*?)^\}", script, re.MULTILINE | re.DOTALL)[1]
    assert commands == [part.split()[0] for part in lint.split("&&")]  # names that PATH finds, without a folder


MESSAGES = pytest.mark.parametrize(
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


@MESSAGES
def test_a_commits_subject_has_72_characters_at_most(message, refused):
    hooks = files.read_yaml(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    (hook,) = [hook for hook in hooks if hook.get("stages") == ["commit-msg"]]
    assert (hook["language"], hook["args"]) == ("pygrep", ["--multiline"])
    pattern = re.compile(hook["entry"].encode(), re.MULTILINE | re.DOTALL)  # as pre-commit's pygrep has it
    assert bool(pattern.search(message.encode())) == refused


@MESSAGES
@pytest.mark.skipif(sys.platform != "linux", reason="the step runs on Ubuntu")
def test_the_subjects_of_a_pull_request_are_held_to_the_same(message, refused, tmp_path):
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "core.hooksPath=/dev/null"]
    subprocess.run([*git, "init", "-q"], check=True)
    for text in ("Base", message, "Last"):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", text], check=True)
    step = files.read_yaml(ROOT / ".github/workflows/tests.yml")["jobs"]["subjects"]["steps"][-1]["run"]
    known = os.environ | {"BASE": "HEAD~2", "RUNNER_TEMP": str(tmp_path)}
    done = subprocess.run(["bash", "-e", "-c", step], cwd=tmp_path, env=known, capture_output=True, text=True)
    assert done.returncode == refused, done
    assert done.stdout.startswith(message.strip().splitlines()[0] if refused else "")
