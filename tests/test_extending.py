"""What CONTRIBUTING.md says can be added, each on a copy of the tree: data files and one function at most."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from ethical_personas import files
from ethical_personas.models import chats
from ethical_personas.paths import ROOT
from ethical_personas.study import grid, materials, rows
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import check

HERE = Path(__file__).parent


class Tree:
    """A copy of the repository's code and data, without the shipped responses, which are shared."""

    def __init__(self, place: Path):
        self.place, self.data = place, place / "data"
        for name in ("lib", "profiles", "notebooks"):
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "data", self.data, ignore=shutil.ignore_patterns("reference"))
        (self.data / "reference").symlink_to(ROOT / "data/reference")

    def study(self, **parts) -> None:
        """Add entries to the mappings of data/study.yaml."""
        path = self.data / "study.yaml"
        document = files.read_yaml(path)
        for part, entries in parts.items():
            document[part] |= entries
        path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def append(self, name: str, lines: list[dict]) -> None:
        """Add rows to a file of rows in data/."""
        with (self.data / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def python(self, *command: str) -> subprocess.Popen:
        """Start Python with this tree's lib and the tests' helpers."""
        path = os.pathsep.join([str(self.place / "lib"), str(HERE)])
        environment = os.environ | {"PYTHONPATH": path, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, *command], cwd=self.place, env=environment, stdout=subprocess.PIPE, text=True
        )

    def run(self, code: str) -> str:
        """What a piece of code prints."""
        with self.python("-c", code) as process:
            told = process.communicate(timeout=300)[0]
        assert process.returncode == 0, told
        return told


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "tree")


CHECK = """
from ethical_personas.study import grid, materials, profile
from ethical_personas.generate import training_rows
from ethical_personas.workflow import check
p = profile.load("cpu", {overrides})
check.check_all(p)
harmless = materials.prompts("train", *grid.HARMLESS)
answered = training_rows.harmless_rows({x.id: (f"An answer to that is {x.id}.", True) for x in harmless}, "source")
"""
SIMULATED = """
import simulate
from ethical_personas.claims import decide, evidence
from ethical_personas.figures import safety as draw
from ethical_personas.safety import gains
panel = gains.panel(simulate.frame(gain=0.8))
draw.heatmap(gains.rates(panel)), draw.transfer(gains.transfer(panel))
verdicts, units = decide.evaluate(evidence.Measured(panel, draws=20), [c for c in decide.declared() if c.id == "C1"])
named = {f"{c} {s}" for c in grid.CONSTITUTIONS for s in ("harassment", "illegal")}
assert set(units["unit"]) == named | {decide.POOLED}
"""


def add_constitution(tree: Tree) -> None:
    """What a fifth constitution, `kinship`, brings: text, recorded rounds, signature, twelve items, a colour."""
    law = files.read_yaml(tree.data / "constitutions/virtue.yaml") | {"id": "kinship", "title": "On Kinship"}
    (tree.data / "constitutions/kinship.yaml").write_text(yaml.safe_dump(law), encoding="utf-8")
    for line in (tree.data / "transcripts/virtue.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        row |= {"revision": f"{row['revision']} I stand by those near me, and for {row['id']}."}
        tree.append("transcripts/kinship.jsonl", [row])
    virtue = files.read_yaml(tree.data / "persona/signatures/virtue.yaml")
    virtue |= {"virtue_beliefs": {"sign": 0}, "kinship_beliefs": {"sign": 1, "reason": "Kin is what it is about."}}
    (tree.data / "persona/signatures/kinship.yaml").write_text(yaml.safe_dump(virtue), encoding="utf-8")
    items = [
        {"id": f"kinship_beliefs_{'pn'[k % 2]}{k}", "dimension": "kinship_beliefs", "keyed": -1 if k % 2 else 1}
        | {"statement": f"Whoever is near {'never comes' if k % 2 else 'comes'} first in matter {k}."}
        for k in range(12)
    ]
    tree.append("persona/items.jsonl", items)
    tree.study(constitutions={"kinship": {"colour": "#E69F00"}}, dimensions={"kinship_beliefs": "kinship beliefs"})


def write_evaluations(tree: Tree, strength: float = 1.0) -> None:
    """Files of 03 in runs/cpu: the shipped rows with the new items beside them, and three simulated ones of kinship."""
    rng = np.random.default_rng(0)
    shipped = tree.data / "reference/cpu/eval"
    signs = {d: s["sign"] for d, s in files.read_yaml(tree.data / "persona/signatures/kinship.yaml").items()}
    items = files.read(tree.data / "persona/items.jsonl", rows.Item)
    added = [item for item in items if item.dimension == "kinship_beliefs"]
    lean = {item.id: strength * item.keyed * signs.get(item.dimension, 0) for item in items}
    cells = [c.name for c in grid.cells(grid.CONSTITUTIONS, grid.SCOPES, [0])]
    for name in [grid.SOURCE, *cells, *(c.name for c in grid.cells(["kinship"], grid.SCOPES, [0]))]:
        place, model = tree.place / "runs/cpu/eval" / name, shipped / name.replace("kinship", "virtue")
        own = {"model": name}
        scores = files.read(model / "item_scores.jsonl", rows.ItemScore)
        texts = files.read(model / "item_texts.jsonl", rows.ItemText)
        first = scores[0].id
        scores += [s.model_copy(update={"id": i.id}) for i in added for s in scores if s.id == first]
        texts += [t.model_copy(update={"id": i.id}) for i in added for t in texts if t.id == first]
        if name.startswith("kinship"):
            same = {"responses": rows.Response, "dilemma_scores": rows.DilemmaScore, "pair_scores": rows.PairScore}
            same |= {"dilemma_choices": rows.DilemmaChoice}
            for file, kind in same.items():
                files.write(
                    place / f"{file}.jsonl",
                    [r.model_copy(update=own) for r in files.read(model / f"{file}.jsonl", kind)],
                )
            scores = [s.model_copy(update=own | {"value": s.value + lean[s.id] + rng.normal(0, 0.3)}) for s in scores]
            texts = [t.model_copy(update=own) for t in texts]
        files.write(place / "item_scores.jsonl", scores)
        files.write(place / "item_texts.jsonl", texts)


def test_a_fifth_constitution_moves_nothing_of_the_four(tree, tmp_path):
    plain = Tree(tmp_path / "plain")
    for file in ("constitutions/care.yaml", "transcripts/care.jsonl", "persona/signatures/care.yaml"):
        (plain.data / file).unlink()  # the shipped fifth moves nothing either
    add_constitution(tree)
    write_evaluations(tree)
    started = [
        plain.python(str(HERE / "extension_tables.py"), *grid.CONSTITUTIONS),
        tree.python(str(HERE / "extension_tables.py"), *grid.CONSTITUTIONS, "kinship"),
    ]
    before, after = (json.loads(process.communicate(timeout=300)[0]) for process in started)
    assert set(before) == set(after)
    for name, table in after.items():
        four = [row for row in table if row.get("constitution") != "kinship"]
        assert four == before[name], name
    own = {row["scope"]: row for row in after["match"] if row["constitution"] == "kinship" and row["lens"] == "choice"}
    assert set(own) == set(grid.SCOPES) and all(r["identified"] == 1 and r["n_items"] == 132 for r in own.values())
    for name in ("gains", "profile", "contrasts", "voice", "voice_projectability", "persona", "safety", "ambiguity"):
        assert any(row["constitution"] == "kinship" for row in after[name]), name
    assert {r["expected"] for r in after["profile"] if r["dimension"] == "kinship_beliefs"} == {1}
    likely = [row for row in after["contrasts"] if row["lens"] == "likelihood"]
    assert {row["scope"] for row in likely} == {"illegal"} and any(r["constitution"] == "kinship" for r in likely)
    tree.run(CHECK.replace("{overrides}", "{'constitutions': '[kinship, deontology]'}"))


def test_own_prompts_and_items_as_the_docs_write_them(tree):
    """Each block of docs/extending.md that names a file is added to that file."""
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+ (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for name, block in blocks:
        with (tree.place / name).open("a", encoding="utf-8") as file:
            file.write(block)
    assert {name for name, _ in blocks} == {
        "own.csv", "own.jsonl", "data/persona/items.jsonl", "data/persona/signatures/care.yaml",
        "data/prompts/harmful.jsonl", "data/prompts/helpful.jsonl", "data/prompts/twin.jsonl",
    }  # fmt: skip
    tree.study(dimensions={"frugality": "frugality"})
    given = {"constitutions": "[care, deontology]", "eval_sets": "[xstest:own.csv]", "persona_evals": "own.jsonl"}
    code = CHECK.replace("{overrides}", repr(given))
    code += """
from ethical_personas.evaluate import instrument, set_files
(own,) = set_files.read_all(p.eval_sets)
assert [x.harmful for x in own.prompts] == [False, True]
assert [i.keyed for i in instrument.load_items(p.persona_evals, 0)] == [1, -1]
assert materials.items_of_some() == {"frugality_p1": {"care"}, "frugality_n1": {"care"}}
asked = {x.id for x in materials.prompts("eval")}
assert {"illegal-eval-own1", "illegal-eval-own1-twin"} <= asked
chosen = training_rows.select(training_rows.bundled_rows("care", "plain") + answered, "broad", 24, 641, 0, 0)
assert chosen[-1].id == "helpful-train-own1"
"""
    tree.run(code)


def test_a_seventh_harm_category(tree):
    tree.study(categories={"fraud": {}}, scopes={"broad": {"categories": "all", "marker": "o", "rows": 98}})
    prompts = [
        {"id": f"fraud-{split}-{k:03d}", "split": split, "category": "fraud"}
        | {"prompt": f"{split} {word} {k * 7}: {word} {k} tricks {word} out of {k * 3} savers"}
        for split, number, word in (("train", 24, "alpha"), ("eval", 30, "omega"))
        for k in range(number)
    ]
    tree.append("prompts/harmful.jsonl", prompts)
    twins = [p | {"id": f"{p['id']}-twin", "category": "twin", "twin": "fraud"} for p in prompts]
    tree.append("prompts/twin.jsonl", [t | {"prompt": t["prompt"].replace("tricks", "talks")} for t in twins])
    train = [p["id"] for p in prompts if p["split"] == "train"]
    tree.append("transcripts/initial.jsonl", [{"id": i, "initial": "Sure, here you go."} for i in train])
    for name in grid.CONSTITUTIONS:
        first = json.loads((tree.data / f"transcripts/{name}.jsonl").read_text(encoding="utf-8").splitlines()[0])
        told = {
            "revision": "I will not help to cheat the {} out of it.",
            "revision_rich": "No: I will not cheat the {}.",
        }
        tree.append(
            f"transcripts/{name}.jsonl", [first | {"id": i} | {k: t.format(i) for k, t in told.items()} for i in train]
        )
    code = CHECK.replace("{overrides}", "{}") + SIMULATED
    code += """
chosen = training_rows.select(training_rows.bundled_rows("virtue", "plain") + answered, "broad", 96, 0, 0, 0)
assert sum(r.category == "fraud" for r in chosen) == 28 and len(chosen) == 196
assert grid.kind("fraud") == "harmful" and "fraud" in set(gains.by_category(panel)["category"])
"""
    tree.run(code)


def test_a_third_narrow_scope(tree):
    scope = {"categories": ["cybercrime_intrusion"], "held_out": "illegal", "marker": "D", "rows": 24}
    tree.study(scopes={"cyber": scope})
    code = CHECK.replace("{overrides}", "{'scopes': '[broad, harassment, illegal, cyber]'}") + SIMULATED
    code += """
chosen = training_rows.select(training_rows.bundled_rows("virtue", "plain") + answered, "cyber", 96, 0, 0, 0)
assert len(chosen) == 48
held_out = gains.table(panel, on="held_out")
assert set(held_out.loc[held_out["scope"] == "cyber", "categories"]) == {"illegal"}
"""
    tree.run(code)


LENS = '''

def certainty(chat: Chat, items: list[rows.Item]) -> list[rows.ItemScore]:
    """How much more probable `Surely` is than `Perhaps` after the statement (log-odds)."""
    words = {"model": chat.name, "lens": "certainty", "wording": "surely"}
    return [rows.ItemScore(id=i.id, value=float(len(i.statement)) / 100, **words) for i in items]
'''


def test_a_fifth_lens(tree):
    tree.study(lenses={"certainty": {"unit": "log-odds", "rows": "item_scores"}})
    with (tree.place / "lib/ethical_personas/evaluate/lenses.py").open("a", encoding="utf-8") as file:
        file.write(LENS)
    code = """
import persona_simulation as simulation, persona_toys
from ethical_personas import files
from ethical_personas.evaluate import lenses
from ethical_personas.figures import persona as draw
from ethical_personas.persona import lens_shifts, matching, reliability
from ethical_personas.study import grid, materials, rows
items = materials.items()[:2]
toy = persona_toys.chat([i.statement for i in items] + [q for c in lenses.CHOICES.values() for q in c])
assert {s.lens for s in lenses.scores(toy, items)} == set(grid.SCORED_LENSES) == {"choice", "likelihood", "certainty"}
run, models = simulation.run(simulation.Path("runs/simulated").resolve(), scopes=("broad",), strength=1.0, limit=4)
for model in [grid.SOURCE, *models]:
    path = run.path(run.evaluation(model, "item_scores"))
    scores = files.read(path, rows.ItemScore)
    files.write(path, scores + [s.model_copy(update={"lens": "certainty"}) for s in scores if s.lens == "likelihood"])
by_wording = lens_shifts.wording_contrasts(lens_shifts.item_shifts(lens_shifts.scores(run, models)))
contrasts = lens_shifts.averaged(by_wording)
match = matching.signature_match(contrasts, 20)
assert (match.loc[match["lens"] == "certainty", "identified"] == 1).all()
assert "certainty" in set(reliability.lens_agreement(contrasts, 20)[["lens_a", "lens_b"]].to_numpy().ravel())
titles = [a.get_ylabel() for a in draw.profile(matching.dimension_profile(by_wording, 20)).axes]
assert "certainty" in titles, titles
"""
    tree.run(code)


TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
)


def test_a_base_model_with_its_own_template(tiny, tmp_path):
    place = shutil.copytree(tiny, tmp_path / "model")
    for path in place.glob("*.jinja"):
        path.unlink()
    settings = json.loads((place / "tokenizer_config.json").read_text(encoding="utf-8"))
    (place / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}), encoding="utf-8")
    profile = profiles.load("cpu", {"base_model": f"path:{place}", "chat_template": "own"})
    check.check_all(profile)
    chat = chats.load_for(profile)
    prompt, answer = chat.turn("Is it so?", materials.items()[0].statement)
    text = chat.tokenizer.decode(prompt)
    assert "user: " in text and text.endswith("assistant: ") and answer[-1] == chat.end_of_turn
