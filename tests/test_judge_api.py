"""The api judge against a small server on loopback that misbehaves in every way a provider can."""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.judge import api, judging
from ethical_personas.study import rows

VERDICT = {"declined": '{"verdict": "declined"}', "complied": '{"verdict": "complied"}'}


class Server(ThreadingHTTPServer):
    """Plays one scripted behaviour a call; `calls` holds the bodies received."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.calls, self.times, self.headers_seen = [], [], [], []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.release = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.append(body)
        self.server.times.append(time.monotonic())
        self.server.headers_seen.append({k.lower(): v for k, v in self.headers.items()})
        act = self.server.script.pop(0) if self.server.script else "declined"
        if act == "drop":
            self.connection.close()
        elif act == "hang":
            self.server.release.wait(2)
        elif act == "html":
            self.reply(200, b"<html>gateway</html>", "text/html")
        elif act == "cut":
            self.reply(200, b'{"id": "x", "choices": [')
        elif act == "deep":
            self.reply(200, b"[" * 100_000)
        elif isinstance(act, tuple):
            self.reply(act[0], b'{"error": {"message": "scripted"}}', wait=act[1])
        elif isinstance(act, int):
            self.reply(act, b'{"error": {"message": "scripted"}}', wait="0.01" if act == 429 else None)
        elif act == "no choices":
            self.reply(200, json.dumps({"id": "x", "object": "chat.completion", "choices": []}).encode())
        else:
            text = VERDICT.get(act, act)
            message = {"role": "assistant", "content": text}
            usage = {"prompt_tokens": 200, "completion_tokens": 7, "total_tokens": 207}
            whole = {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"], "usage": usage}
            whole["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
            self.reply(200, json.dumps(whole).encode())

    def reply(self, status, body, kind="application/json", wait=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if wait:
            self.send_header("Retry-After", wait)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.release.set()
        running.shutdown()


def responses(n):
    return [
        rows.Response(
            id=f"p{i}", model="source", category="illegal", prompt=f"Q{i}", response=f"A{i}", tokens=3, finished=True
        )
        for i in range(n)
    ]


def ask(server, n, cache):
    return judging.judge(responses(n), "api", model="judge-1", url=server.url, cache=cache)


def test_verdicts_and_tokens(server, tmp_path):
    server.script = ["declined", "complied"]
    found = ask(server, 2, tmp_path / "j.jsonl")
    assert [j.verdict for j in found] == ["declined", "complied"]
    assert "Q0" in server.calls[0]["messages"][1]["content"] and "A0" in server.calls[0]["messages"][1]["content"]
    kept = judging.read_cache(tmp_path / "j.jsonl")
    assert sum(j.tokens_in for j in kept) == 400 and sum(j.tokens_out for j in kept) == 14


@pytest.mark.parametrize("trouble", [[429, 429], [500, 503], ["drop"], [429, "drop", 500]])
def test_passing_trouble_is_retried(server, tmp_path, trouble):
    server.script = [*trouble, "complied"]
    assert [j.verdict for j in ask(server, 1, tmp_path / "j.jsonl")] == ["complied"]
    assert len(server.calls) == len(trouble) + 1


def test_a_busy_endpoint_is_left_alone_for_as_long_as_it_asks(server, tmp_path):
    # Fifty times the back-off that this file's fixture leaves: only the header can make the client wait so long.
    server.script = [(429, "1"), "complied"]
    assert [j.verdict for j in ask(server, 1, tmp_path / "j.jsonl")] == ["complied"]
    first, second = server.times
    assert second - first >= 1


BAD = {
    "html": "bad body",
    "cut": "bad body",
    "deep": "bad body",
    "no choices": "empty answer",
    "": "empty answer",
    "declined": None,
    "The model declined.": "no JSON verdict",
    '{"verdict": "refused"}': "no JSON verdict",
    '{"verdict": "declined", "sure": true}': "no JSON verdict",
    '{"verdict": "declined"} {"verdict": "complied"}': "no JSON verdict",
    '["declined"]': "no JSON verdict",
    '```json\n{"verdict": "declined"}\n```': None,
}


@pytest.mark.parametrize("body, reason", BAD.items())
def test_only_strict_json_is_a_verdict(server, tmp_path, body, reason):
    server.script = [body]
    (found,) = ask(server, 1, tmp_path / "j.jsonl")
    if reason is None:
        assert found.verdict == "declined" and found.error is None
    else:
        assert found.verdict is None and found.error.startswith(reason)


def test_failed_call_is_no_verdict_and_rerun_pays_only_for_what_is_missing(server, tmp_path):
    cache = tmp_path / "j.jsonl"
    server.script = ["complied", *[500] * (api.RETRIES + 1), "declined", "not json", 400]
    found = ask(server, 5, cache)
    assert [j.verdict for j in found] == ["complied", None, "declined", None, None]
    assert [j.error.split(":")[0] for j in found if j.error] == ["HTTP 500", "no JSON verdict", "HTTP 400"]
    before = len(server.calls)
    server.script = ["declined"] * 3
    again = ask(server, 5, cache)
    assert len(server.calls) - before == 3
    assert [j.verdict for j in again] == ["complied", "declined", "declined", "declined", "declined"]
    ask(server, 5, cache)
    assert len(server.calls) - before == 3


def test_timeout_is_a_failed_call(server, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "TIMEOUT", 0.15)
    monkeypatch.setattr(api, "RETRIES", 1)
    server.script = ["hang", "hang", "complied"]
    found = ask(server, 2, tmp_path / "j.jsonl")
    assert found[0].verdict is None and found[0].error.startswith("timeout")
    assert found[1].verdict == "complied"


def test_each_verdict_is_on_disk_before_the_next_call(server, tmp_path, monkeypatch):
    cache = tmp_path / "j.jsonl"
    synced, seen = [], []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda f: (synced.append(len(server.calls)), real(f)))
    plain = api._ask

    def watched(endpoint, model, response):
        seen.append(cache.read_bytes().count(b"\n"))
        return plain(endpoint, model, response)

    monkeypatch.setattr(api, "_ask", watched)
    ask(server, 4, cache)
    assert seen == [0, 1, 2, 3] and synced == [1, 2, 3, 4]


def test_killed_run_keeps_what_it_paid_for(server, tmp_path, monkeypatch):
    cache = tmp_path / "j.jsonl"
    plain = api._ask

    def killed(endpoint, model, response):
        if response.id == "p2":
            raise KeyboardInterrupt
        return plain(endpoint, model, response)

    monkeypatch.setattr(api, "_ask", killed)
    with pytest.raises(KeyboardInterrupt):
        ask(server, 4, cache)
    monkeypatch.setattr(api, "_ask", plain)
    ask(server, 4, cache)
    assert len(server.calls) == 4


def test_dead_endpoint_is_given_up_and_every_row_says_so(server, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "RETRIES", 0)
    server.script = [500] * 50
    found = ask(server, 20, tmp_path / "j.jsonl")
    assert len(server.calls) == api.GIVE_UP and all(j.verdict is None for j in found)
    assert found[-1].error.startswith("not tried: 8 calls in a row failed")
    assert sum(j.error.startswith("not tried") for j in found) == 12


@pytest.mark.parametrize("status", [401, 403, 404])
def test_wrong_key_or_model_stops_with_a_mend(server, tmp_path, status):
    server.script = [status]
    with pytest.raises(CompanionError, match=f"HTTP {status} for model 'judge-1'; check OPENAI_API_KEY"):
        ask(server, 3, tmp_path / "j.jsonl")


def test_key_is_sent_and_written_nowhere(server, tmp_path):
    server.script = [400, "declined"]
    ask(server, 2, tmp_path / "j.jsonl")
    assert all(h["authorization"] == "Bearer sk-secret-of-the-test" for h in server.headers_seen)
    assert all(b"sk-secret" not in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_hosted_endpoint_without_key_and_missing_model_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CompanionError, match="OPENAI_API_KEY is not set"):
        judging.judge(responses(1), "api", model="m", cache=tmp_path / "j.jsonl")
    with pytest.raises(CompanionError, match="judge_model is empty"):
        judging.judge(responses(1), "api", url="http://127.0.0.1:9/v1", cache=tmp_path / "j.jsonl")


def test_model_and_endpoint_are_part_of_the_version():
    stamps = {judging.version("api", m, u) for m in ("a", "b") for u in ("http://x/v1", "http://y/v1")}
    assert len(stamps) == 4
