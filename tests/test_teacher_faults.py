"""The api teacher against an endpoint that misbehaves: nothing paid is lost, nothing false is kept."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.generate import teacher

SECRET = "sk-secret-of-the-test"
SLOW = 10  # seconds that a late answer takes, unless the test ends sooner


class Handler(BaseHTTPRequestHandler):
    """Plays one scripted act a call, then answers; notes what was on disk when the call came."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][0]["content"]
        paid = self.server.cache.read_text(encoding="utf-8") if self.server.cache.is_file() else ""
        self.server.calls.append((text, paid.count("\n")))
        self.server.times.append(time.monotonic())
        act = self.server.script.pop(0) if self.server.script else f"reply to {text}"
        if act == "drop":
            self.connection.close()
        elif act == "late":
            self.server.release.wait(SLOW)
            with contextlib.suppress(OSError):  # nobody waits any more
                self.reply(200, completion("too late"))
        elif isinstance(act, tuple):
            self.reply(act[0], b'{"error": {"message": "scripted"}}', wait=act[1])
        elif isinstance(act, int):
            self.reply(act, b'{"error": {"message": "scripted"}}')
        elif isinstance(act, bytes):
            self.reply(200, act, "text/html" if act.startswith(b"<") else "application/json")
        else:
            self.reply(200, completion(act))

    def reply(self, status, body, kind="application/json", wait=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if wait:
            self.send_header("Retry-After", wait)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def completion(text, reason="stop"):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return json.dumps(whole).encode()


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.script, running.calls, running.times, running.cache = [], [], [], tmp_path / "teacher/paid.jsonl"
        running.release = threading.Event()
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}/v1"
        running.url = url
        running.ask = lambda texts, model="m": teacher.api(model, url, running.cache)(texts)
        yield running
        running.release.set()
        running.shutdown()


@pytest.mark.parametrize("script", [[429], [500, 503], ["drop"], [429, 500, "drop", 502]], ids=str)
def test_what_passes_is_tried_again(server, script):
    server.script = list(script)
    assert server.ask(["a"]) == [("reply to a", None)]
    assert len(server.calls) == len(script) + 1


def test_a_busy_endpoint_is_left_alone_for_as_long_as_it_asks(server):
    # Fifty times the back-off that this file's fixture leaves: only the header can make the client wait so long.
    server.script = [(429, "1")]
    assert server.ask(["a"]) == [("reply to a", None)]
    first, second = server.times
    assert second - first >= 1


def test_an_answer_that_does_not_come_is_asked_for_again(server, monkeypatch):
    monkeypatch.setattr(teacher, "TIMEOUT", 1.0)
    server.script = ["late"]
    assert server.ask(["a"]) == [("reply to a", None)]
    assert len(server.calls) == 2


def test_answers_that_never_come_are_an_error_and_the_next_run_pays_for_them_alone(server, monkeypatch):
    monkeypatch.setattr(teacher, "TIMEOUT", 1.0)
    monkeypatch.setattr(teacher, "RETRIES", 1)
    server.script = ["late", "late"]
    assert server.ask(["a", "b"]) == [("", "APITimeoutError"), ("reply to b", None)]
    assert [text for text, _ in server.calls] == ["a", "a", "b"]
    assert server.ask(["a", "b"]) == [("reply to a", None), ("reply to b", None)]
    assert [text for text, _ in server.calls] == ["a", "a", "b", "a"]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([500] * 5, "InternalServerError"),
        (["drop"] * 5, "APIConnectionError"),
        ([400], "BadRequestError"),
        ([""], "empty answer"),
        (["  \n"], "empty answer"),
        ([b'{"id": "x", "object": "chat.completion", "choices": []}'], "empty answer"),
        ([b'{"id": "x", "object": "chat.completion", "choices": null}'], "bad body"),
    ],
    ids=["500", "drop", "400", "empty", "blank", "no choices", "null choices"],
)
def test_what_stays_wrong_is_an_error_and_the_next_run_pays_for_it_alone(server, script, error):
    server.script = ["first", *script]
    found = server.ask(["a", "b", "c"])
    assert found == [("first", None), ("", error), ("reply to c", None)]
    calls = len(server.calls)
    assert server.ask(["a", "b", "c"]) == [("first", None), ("reply to b", None), ("reply to c", None)]
    assert [text for text, _ in server.calls[calls:]] == ["b"]


def said(content):
    return b'{"id": "x", "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": %s}}]}' % content


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>gateway</html>", id="html"),
        pytest.param(b'{"id": "x", "choices": [', id="cut"),
        pytest.param(b"[" * 100_000, id="deeply nested"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'"no"', id="text"),
        pytest.param(b'{"id": "x", "choices": {"message": {"content": "no"}}}', id="choices no list"),
        pytest.param(b'{"id": "x", "choices": [null]}', id="null choice"),
        pytest.param(b'{"id": "x", "choices": [{}]}', id="empty choice"),
        pytest.param(b'{"id": "x", "choices": [{"index": 0, "message": null}]}', id="null message"),
        pytest.param(b'{"id": "x", "choices": [{"index": 0, "message": {}}]}', id="empty message"),
        pytest.param(said(b"5"), id="number"),
        pytest.param(said(b'["no"]'), id="list of parts"),
        pytest.param(said(b'"\\ud800"'), id="half a character"),
    ],
)
def test_a_body_that_is_no_completion_is_an_error_too(server, body):
    server.script = ["first"] + [body] * 5
    found = server.ask(["a", "b"])
    assert found[0] == ("first", None) and found[1][0] == "" and found[1][1]
    assert server.cache.read_bytes().count(b"\n") == 1


def test_an_answer_cut_at_the_token_limit_is_brought_back_to_a_whole_sentence(server):
    server.script = [completion("I will not help with that. If you are worried about", "length")]
    assert server.ask(["a"]) == [("I will not help with that.", None)]


def test_each_paid_answer_is_on_disk_before_the_next_call(server, monkeypatch):
    synced, real = [], teacher.os.fsync
    monkeypatch.setattr(teacher.os, "fsync", lambda number: synced.append(len(server.calls)) or real(number))
    server.ask(["a", "b", "c"])
    assert server.calls == [("a", 0), ("b", 1), ("c", 2)] and synced == [1, 2, 3]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_model_stops_the_run_and_keeps_what_was_paid(server, status):
    server.script = ["first", status]
    told = f"teacher api: HTTP {status} for model 'm'; check OPENAI_API_KEY, teacher_model and teacher_url"
    with pytest.raises(CompanionError, match=f"^{told}$"):
        server.ask(["a", "b", "c"])
    assert len(server.calls) == 2
    assert server.ask(["a"]) == [("first", None)] and len(server.calls) == 2


def test_another_model_is_another_answer(server):
    server.ask(["a"])
    server.ask(["a"], model="other")
    assert len(server.calls) == 2


def test_a_line_cut_by_a_crash_is_paid_again_and_spoils_no_other(server):
    server.ask(["a", "b"])
    content = server.cache.read_bytes()
    server.cache.write_bytes(content[:-7])
    assert server.ask(["a", "b"]) == [("reply to a", None), ("reply to b", None)]
    assert [text for text, _ in server.calls] == ["a", "b", "b"]
    assert server.cache.read_bytes() == content


@pytest.mark.parametrize("sign", ["\n", "ü", '"', "\\n", "\u2028"])
def test_any_paid_text_is_read_back(server, sign):
    server.script = [f"one{sign}two"]
    assert server.ask(["a"]) == server.ask(["a"]) == [(f"one{sign}two", None)]
    assert len(server.calls) == 1


def test_the_key_is_in_no_file(server, tmp_path):
    server.script = [500, 400]
    server.ask(["a", "b"])
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and SECRET in p.read_text(encoding="utf-8")]


def test_an_endpoint_that_is_down_is_given_up(server):
    server.script = [400] * 10
    ask = teacher.api("m", server.url, server.cache)
    assert {e for _, e in ask([f"refused {k}" for k in range(10)])} == {"BadRequestError"}, "a filter is no outage"
    server.calls.clear()
    server.script = [500] * 500
    found = ask([f"text {k}" for k in range(12)])
    assert len({text for text, _ in server.calls}) == teacher.GIVE_UP
    assert sum(e == "InternalServerError" for _, e in found) == teacher.GIVE_UP
    assert {e for _, e in found[teacher.GIVE_UP :]} == {"not tried: 8 failures in a row"}
    assert ask(["one more"]) == [("", "not tried: 8 failures in a row")]
