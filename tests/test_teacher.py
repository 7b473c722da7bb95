"""A live teacher: rounds in order, failures as reasons, paid answers never paid twice."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.generate import revisions, teacher, training_rows
from ethical_personas.run import Run
from ethical_personas.study import materials, rows

PROMPTS = materials.prompts("train", "illegal")[:3]
FIRST = materials.initial_answers()


def test_a_round_criticises_then_revises_under_one_principle():
    law, seen = materials.constitution("virtue"), []

    def ask(texts):
        seen.append(texts)
        return [(f"text {len(seen)}.{n}", None) for n in range(len(texts))]

    found = teacher.rounds(ask, law, PROMPTS, FIRST)
    assert [r.id for r in found] == [p.id for p in PROMPTS]
    for n, done in enumerate(found):
        principle = next(p for p in law.principles if p.id == done.principle)
        assert principle.critique in seen[0][n] and principle.revision in seen[1][n]
        assert done.critique in seen[1][n] and (done.revision, done.error) == (f"text 2.{n}", None)


def test_a_failed_call_is_a_dropped_row(monkeypatch, tmp_path):
    def failing(*_, **__):
        return lambda texts: [
            ("", "BadRequestError") if n == 0 else (f"A fine reply, number {n}.", None) for n in range(len(texts))
        ]

    monkeypatch.setattr(teacher, "api", failing)
    monkeypatch.setattr(revisions.materials, "prompts", lambda *_: PROMPTS)
    from types import SimpleNamespace

    p = SimpleNamespace(teacher="api", teacher_model="m", teacher_url="")
    found = revisions.harmful(None, materials.constitution("virtue"), Run(str(tmp_path), "cpu"), p)
    assert found[0].dropped == "BadRequestError" and found[0].answer == ""
    assert files.read(files.write(tmp_path / "x.jsonl", found), rows.SftRow) == found
    with pytest.raises(CompanionError, match="usable"):
        training_rows.select([r for r in found if r.dropped], "illegal", 1, 0, 0)


@pytest.fixture
def server():
    """An endpoint that fails its first call with 429 and its third with rubbish; counts calls."""
    calls = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            calls.append(body["messages"][0]["content"])
            status = 429 if len(calls) == 1 else 200
            content = "" if body["messages"][0]["content"] == "nothing" else f"reply to {calls[-1]}"
            reply = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": []}
            reply["choices"] = [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
            ]
            payload = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/v1", calls
    http.shutdown()


def test_paid_answers_are_kept_and_only_missing_ones_are_paid(server, tmp_path, monkeypatch):
    url, calls = server
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    cache = tmp_path / "paid.jsonl"
    ask = teacher.api("m", url, cache)
    assert ask(["a", "nothing"]) == [("reply to a", None), ("", "empty answer")]
    with cache.open("a") as out:
        out.write('{"key": "cut')
    before = len(calls)
    assert teacher.api("m", url, cache)(["a", "b"]) == [("reply to a", None), ("reply to b", None)]
    assert calls[before:] == ["b"]
    assert "sk-secret" not in cache.read_text()
    assert len(cache.read_text().splitlines()) == 2


def test_a_missing_key_or_model_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CompanionError, match="teacher_model"):
        teacher.api("", "", tmp_path / "x")
    with pytest.raises(CompanionError, match="OPENAI_API_KEY"):
        teacher.api("m", "", tmp_path / "x")
