"""What makes a stage run again: its code and that of the modules it reaches, and no prose."""

import shutil

import pytest
from ethical_personas.paths import ROOT
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import code_hash

LIB = "lib/ethical_personas"
HEAVY = [*profiles.NOTEBOOKS[:3], "ethical_personas.workflow.source_answers"]
STAGES = [*profiles.NOTEBOOKS, "ethical_personas.workflow.source_answers", "ethical_personas.workflow.summary"]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the code; `edit` changes one file and returns the stages whose version changed."""
    for part in ("lib", "notebooks"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
    monkeypatch.setattr(code_hash, "ROOT", tmp_path)
    monkeypatch.setattr(code_hash, "LIB", tmp_path / "lib")
    caches = (code_hash._module, code_hash._reachable)

    def versions():
        for cache in caches:
            cache.cache_clear()
        return {stage: code_hash.version(stage) for stage in STAGES}

    for cache in caches:
        cache.cache_clear()

    def edit(name, old, new):
        before, path = versions(), tmp_path / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) >= 1, old
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        after = versions()
        return {s for s in STAGES if after[s] != before[s]}

    yield edit
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (f"{LIB}/finetune/lora.py", "        save_strategy=", "        # A remark.\n        save_strategy="),
        (f"{LIB}/finetune/lora.py", '"""LoRA fine-tuning', '"""Other words: LoRA fine-tuning'),
        (f"{LIB}/finetune/lora.py", '"""Notes the seconds', '"""Keeps the seconds'),
        (f"{LIB}/files.py", '"""All rows of a JSON-lines file', '"""Every row of a JSON-lines file'),
        (f"{LIB}/finetune/lora.py", "made = AnswerLossTrainer(", "made = AnswerLossTrainer(  \n        "),
        ("notebooks/02_finetune.py", "# # 02", "# # Chapter 02"),
        ("notebooks/02_finetune.py", "# %%\nfrom ethical", "# %%\n# First the imports.\nfrom ethical"),
        ("notebooks/02_finetune.py", "lora_r = 16", "lora_r = 8"),  # a parameter: the graph compares its value
    ],
    ids=["comment", "module", "class", "function", "layout", "markdown", "notebook comment", "parameter"],
)
def test_prose_and_layout_rerun_nothing(tree, name, old, new):
    assert tree(name, old, new) == set()


def test_a_first_docstring_reruns_nothing(tree):
    bare = "    def on_step_end(self, args, state, control, model=None, **_):\n"
    assert tree(f"{LIB}/finetune/lora.py", bare, bare + '        """Note the seconds."""\n') == set()


def test_training_code_reruns_training_alone(tree):
    assert tree(f"{LIB}/finetune/lora.py", "weight_decay=0.0", "weight_decay=0.1") == {"02_finetune"}


def test_generation_code_reruns_all_that_generates(tree):
    changed = tree(f"{LIB}/models/decode.py", "do_sample=False", "do_sample=True")
    assert set(HEAVY) <= changed


def test_code_of_a_notebook_reruns_it_alone(tree):
    assert tree("notebooks/03_evaluate.py", "run = Run(", "print(1)\nrun = Run(") == {"03_evaluate"}


def test_a_mended_figure_or_judge_trains_nothing_again(tree):
    for name, old, new in [
        (f"{LIB}/figures/style.py", '"font.size": 8', '"font.size": 9'),
        (f"{LIB}/judge/calibration.py", "import functools", "import functools\nimport this"),
        (f"{LIB}/figures/safety.py", "\ndef ", "\nX = 1\n\n\ndef "),
    ]:
        changed = tree(name, old, new)
        assert changed and not changed & set(HEAVY), name


@pytest.mark.parametrize("judge", ["api", "bundled", "encoder", "hf", "keyword"])
def test_a_mended_judge_reruns_the_analysis(tree, judge):
    changed = tree(f"{LIB}/judge/{judge}.py", "from __future__", "import math as more\nfrom __future__")
    assert {"04_emergent_alignment", "05_persona", "06_projectability"} <= changed


def test_code_that_a_stage_cannot_reach_does_not_count(tree):
    assert tree(f"{LIB}/workflow/cli.py", "status == 0", "status == 1") == set()
    assert tree(f"{LIB}/workflow/progress.py", "GUESS = {", 'GUESS = {"other": 1, ') == set()


def test_what_a_reached_module_reaches_counts_too(tree):
    """paths is two steps away from all of them."""
    assert set(HEAVY) <= tree(f"{LIB}/paths.py", "hashlib.file_digest", "hashlib.other_digest")


def test_a_version_is_the_same_in_another_folder(tree, monkeypatch):
    here = {stage: code_hash.version(stage) for stage in STAGES}
    monkeypatch.setattr(code_hash, "ROOT", ROOT)
    monkeypatch.setattr(code_hash, "LIB", ROOT / "lib")
    for cache in (code_hash._module, code_hash._reachable):
        cache.cache_clear()
    assert {stage: code_hash.version(stage) for stage in STAGES} == here
