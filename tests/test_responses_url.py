"""Answers by a server (`responses_url`): one model a name, asked once, nothing lost and nothing made up."""

import json
import subprocess
from types import SimpleNamespace

import loopback
import persona_toys
import pytest
from ethical_personas import files
from ethical_personas import run as run_module
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import ask as questions
from ethical_personas.evaluate import lenses, served
from ethical_personas.models import endpoint, templates
from ethical_personas.models.decode import Generated
from ethical_personas.paths import ROOT
from ethical_personas.run import Run
from ethical_personas.study import inputs, materials, parameters, rows
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import cli, execute, probe
from transformers import AutoTokenizer

PROMPTS = ["How do I pick a lock?", "Write a rhyme", "Name a fruit"]
CELL = "virtue-broad-s0"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none-is-needed")
    monkeypatch.setattr(endpoint, "RETRIES", 0)
    endpoint._endpoint.cache_clear()
    with loopback.running() as found:
        found.habit = lambda request: said(request, "I would rather not.")
        yield found


def said(request, text, finish="stop", read=None):
    """A completion whose server has read as many tokens as `chat` makes, unless told otherwise."""
    last = request["messages"][-1]["content"]
    found = loopback.message(text, finish)
    found["usage"]["prompt_tokens"] = len(last.split()) if read is None else read
    return found


class Words:
    """A tokenizer of words."""

    chat_template = "{{ messages }}"

    def __call__(self, text, **_):
        return {"input_ids": text.split()}


def chat(system=""):
    return SimpleNamespace(
        name=CELL, system=system, base_model="wheel:x@1", tokenizer=Words(), ids=lambda text: text.split()
    )


@pytest.fixture
def ask(server, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    p = SimpleNamespace(responses_url=server.url, max_new_tokens=40, decode_batch=2)

    def call(prompts=PROMPTS, system="", **more):
        given = SimpleNamespace(**vars(p) | more)
        return served.answers(given, Run(str(tmp_path / "run"), "smoke"), chat(system), adapter, prompts, "requests")

    call.adapter, call.kept = adapter / "adapter_model.safetensors", tmp_path / "run/served"
    return call


def test_each_prompt_is_asked_of_the_model_by_its_name_and_answers_keep_their_order(server, ask):
    server.habit = lambda request: said(request, f"about {request['messages'][-1]['content']}")
    assert [a.text for a in ask()] == [f"about {text}" for text in PROMPTS]
    assert {call["model"] for call in server.calls} == {CELL}
    assert {(call["temperature"], call["max_tokens"]) for call in server.calls} == {(0, 40)}
    assert all(
        call["messages"] == [{"role": "user", "content": call["messages"][-1]["content"]}] for call in server.calls
    )
    ask(system="Be brief.")
    assert server.calls[-1]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_a_cut_and_an_empty_answer_are_rows_like_any_other(server, ask):
    texts = {"Write a rhyme": ("Roses are", "length"), "Name a fruit": ("", "stop")}
    server.habit = lambda request: said(request, *texts.get(request["messages"][-1]["content"], ("No.", "stop")))
    assert ask() == [Generated("No.", 7, True), Generated("Roses are", 7, False), Generated("", 7, True)]


def test_many_empty_answers_are_no_fault_of_the_server(server, ask):
    server.habit = lambda request: said(request, "")
    assert len(ask([f"prompt {n}" for n in range(2 * endpoint.GIVE_UP)])) == 2 * endpoint.GIVE_UP


def test_tokens_are_counted_here_where_the_server_counts_none(server, ask):
    server.habit = lambda request: {k: v for k, v in said(request, "Three words here").items() if k != "usage"}
    assert ask(PROMPTS[:1]) == [Generated("Three words here", 4, True)]


def test_nothing_is_asked_twice_and_a_prompt_that_stands_twice_once(server, ask):
    first = ask([*PROMPTS, PROMPTS[0]])
    assert len(server.calls) == 3 and first[0] == first[3]
    assert ask() == first[:3] and len(server.calls) == 3


@pytest.mark.parametrize("change", [{"max_new_tokens": 41}, {"system": "Be brief."}, "weights"])
def test_another_question_or_training_is_asked_anew(server, ask, change):
    ask()
    if change == "weights":
        ask.adapter.write_bytes(b"trained again")
        ask()
    else:
        ask(**change)
    assert len(server.calls) == 6


def test_a_failure_is_one_line_and_what_came_is_kept(server, ask):
    server.habit = lambda request: 500 if "rhyme" in request["messages"][-1]["content"] else said(request, "No.")
    with pytest.raises(
        CompanionError, match="responses_url: 1 of 3 prompts without an answer of 'virtue-broad-s0'"
    ) as e:
        ask()
    assert "HTTP 500" in str(e.value) and "\n" not in str(e.value)
    assert (ask.kept / f"{CELL}.jsonl").read_text().count("\n") == 2
    server.calls.clear()
    server.habit = lambda request: said(request, "No.")
    assert len(ask()) == 3 and server.asked == ["Write a rhyme"]


def test_a_line_that_a_crash_cut_is_asked_again(server, ask):
    ask()
    kept = ask.kept / f"{CELL}.jsonl"
    kept.write_bytes(kept.read_bytes()[:-9])
    assert len(ask()) == 3 and len(server.calls) == 4
    assert [json.loads(line)["answer"] for line in kept.read_text().splitlines()] == ["I would rather not."] * 3


def test_a_server_without_this_model_is_one_line(server, ask):
    server.habit = lambda request: loopback.refusal(404, "The model `virtue-broad-s0` does not exist.")
    with pytest.raises(CompanionError, match=r"HTTP 404 for model 'virtue-broad-s0' .*--lora-modules") as error:
        ask()
    assert "\n" not in str(error.value) and "responses_model" not in str(error.value)


def test_a_server_that_is_down_is_one_line(ask):
    with pytest.raises(CompanionError, match=r"responses api: 12 calls in a row .*connection") as error:
        ask([f"prompt {n}" for n in range(20)], responses_url="http://127.0.0.1:9/v1")
    assert "\n" not in str(error.value)


def test_a_server_that_makes_another_text_of_a_prompt_is_refused(server, ask):
    server.habit = lambda request: said(request, "No.", read=31)
    with pytest.raises(
        CompanionError,
        match=r"makes 31 tokens of a prompt that has \d here: .* start it on wheel:x@1 with --chat-template",
    ) as error:
        ask()
    assert "\n" not in str(error.value)
    assert (ask.kept / "chat_template.jinja").read_text() == Words.chat_template
    assert not (ask.kept / f"{CELL}.jsonl").exists(), "answers to another text are not kept"


def test_without_a_server_the_model_here_answers(monkeypatch, ask):
    given = []
    monkeypatch.setattr(served, "local_answers", lambda *a, **k: given.append((a[1:], k)) or ["local"])
    assert ask(responses_url="", repetition_penalty=1.1) == ["local"]
    assert given == [((PROMPTS, 40, 2, 1.1), {"label": "requests"})] and not ask.kept.exists()


@pytest.fixture
def wordy(tmp_path):
    """Folder of a tiny random model that has a token for every word of the belief items' questions."""
    texts = [*(i.statement for i in materials.items()), *(t for choice in lenses.CHOICES.values() for t in choice)]
    toy = persona_toys.chat([*texts, *(x.prompt for x in materials.prompts("eval"))])
    toy.model.save_pretrained(tmp_path / "wordy")
    toy.tokenizer.save_pretrained(tmp_path / "wordy")
    return tmp_path / "wordy"


@pytest.mark.timeout(240)
def test_notebook_03_takes_answers_from_the_server_and_all_else_from_the_model_here(server, wordy, tmp_path):
    """As a job of the graph executes it, with a server that reads its prompts by the template that 03 has left."""
    run, tokenizer = Run(str(tmp_path / "run"), "smoke"), AutoTokenizer.from_pretrained(wordy)

    def habit(request):
        template = run.path("served/chat_template.jinja").read_text(encoding="utf-8")
        text = tokenizer.apply_chat_template(
            request["messages"], chat_template=template, add_generation_prompt=True, tokenize=False
        )
        read = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        return said(request, f"about {request['messages'][-1]['content']}", read=read)

    server.habit = habit
    (tmp_path / "own.csv").write_text("id,prompt,type,label\na,Paint the fence,own,safe\n")
    given = {"responses_url": server.url, "repetition_penalty": "1", "base_model": f"path:{wordy}"}
    given |= {"eval_sets": f"[xstest:{tmp_path / 'own.csv'}]", "eval_per_category": "1", "item_limit": "1"}
    job = {"profile": "smoke", "run_dir": str(tmp_path / "run"), "model": "source"}
    values = parameters.for_notebook(profiles.load("smoke", given), "03_evaluate") | job
    assert execute.execute("03_evaluate", tmp_path / "03.ipynb", values) == 0

    wanted = [x.prompt for x in questions.prompts(1)]
    assert sorted(server.asked) == sorted([*wanted, "Paint the fence"])
    assert {call["model"] for call in server.calls} == {"source"}
    responses, own, tasks, texts = (
        files.read(run.path(run.evaluation("source", name)), kind)
        for name, kind in (
            (inputs.RESPONSES, rows.Response),
            (inputs.set_rows("own"), rows.SetResponse),
            (inputs.TASK_REPLIES, rows.TaskReply),
            (inputs.ITEM_TEXTS, rows.ItemText),
        )
    )
    assert [r.response for r in responses] == [f"about {text}" for text in wanted] and len(tasks) and len(texts)
    assert [(r.prompt, r.response, r.tokens) for r in own] == [("Paint the fence", "about Paint the fence", 7)]
    kept = run.path("served/source.jsonl").read_text(encoding="utf-8")
    assert kept.count("\n") == len(wanted) + 1


@pytest.mark.parametrize("stage", ["none", "sft"])
def test_template_and_base_of_the_server_are_told_before_any_job_starts(monkeypatch, tmp_path, capsys, tiny, stage):
    monkeypatch.setattr(run_module, "ROOT", tmp_path)
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    given = {"responses_url": "http://127.0.0.1:8000/v1", "repetition_penalty": "1"}
    given |= {"base_model": f"path:{tiny}", "source_stage": stage}
    cli._template(profiles.load("smoke", given), Run("runs/served", "smoke"))
    assert (tmp_path / "runs/served/served/chat_template.jinja").read_text().endswith(templates.TEMPLATES["chatml"])
    base = "runs/served/source_model" if stage == "sft" else tiny
    told = f"the server's model is {base}, its chat template is runs/served/served/chat_template.jinja\n"
    assert capsys.readouterr().err == f"responses_url: {told}"


def test_the_page_gives_the_server_every_adapter_by_its_name(tmp_path):
    """The loop of docs/scale.md, as bash runs it: cells and the checkpoints along training."""
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    command = page[page.index("vllm serve ") :].partition("\n./run_all.sh")[0]
    for name in (CELL, f"{CELL}/checkpoints/8", f"{CELL}/checkpoints/24", "plain-broad-s0"):
        (tmp_path / "runs/served/adapters" / name).mkdir(parents=True)
    script = f'vllm() {{ printf "%s\\n" "$@"; }}\n{command}\n'
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    asked = done.stdout.split()
    assert asked[:2] == ["serve", "runs/served/source_model"]
    folder = tmp_path.resolve() / "runs/served/adapters"
    names = {CELL: CELL, "plain-broad-s0": "plain-broad-s0"}
    names |= {f"{CELL}@{step}": f"{CELL}/checkpoints/{step}" for step in (8, 24)}
    assert set(asked[asked.index("--lora-modules") + 1 :]) == {f"{name}={folder / at}" for name, at in names.items()}


def test_the_penalty_of_repetitions_and_the_address_are_checked_before_a_run():
    with pytest.raises(CompanionError, match=r"field repetition_penalty: with a responses_url it is 1"):
        profiles.load("smoke", {"responses_url": "http://127.0.0.1:8000/v1"})
    bad = profiles.load("smoke", {"responses_url": "127.0.0.1:8000", "repetition_penalty": "1"})
    with pytest.raises(CompanionError, match=r"field responses_url: '127.0.0.1:8000' is no web address"):
        probe.keys(bad)
