"""The api teacher against an endpoint that misbehaves: nothing paid is lost, nothing false is kept."""

import pytest
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.generate import teacher
from ethical_personas.models import endpoint
from ethical_personas.study import rows
from loopback import message, refusal

SECRET = "sk-secret-of-the-test"


@pytest.fixture
def ask(server, tmp_path):
    """Ask a teacher texts; it replies to each unless the server's script says otherwise."""
    server.habit = lambda request: f"reply to {request['messages'][-1]['content']}"
    server.cache = tmp_path / "teacher/paid.jsonl"
    return lambda texts, model="m": teacher.api(model, server.url, server.cache)(texts)


@pytest.mark.parametrize("script", [[429], [500, 503], ["drop"], [429, 500, "drop", 502]], ids=str)
def test_what_passes_is_tried_again(server, ask, script):
    server.script = list(script)
    assert ask(["a"]) == [("reply to a", None)]
    assert len(server.calls) == len(script) + 1


def test_an_answer_that_does_not_come_is_asked_for_again(server, ask, monkeypatch):
    monkeypatch.setattr(endpoint, "TIMEOUT", 0.5)
    server.script = ["hang"]
    assert ask(["a"]) == [("reply to a", None)]
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([500] * 5, "HTTP 500: scripted"),
        (["drop"] * 5, "connection: "),
        ([refusal(400, "filtered", code="content_filter")], "text refused: filtered"),
        ([""], "empty answer"),
        (["  \n"], "empty answer"),
        ([b'{"id": "x", "object": "chat.completion", "choices": []}'], "empty answer"),
        ([b'{"id": "x", "object": "chat.completion", "choices": null}'], "bad body"),
        ([message("no end in sight", "length")], "empty answer: not one whole sentence"),
        ([message(None, reasoning_content="I should decline.")], "only thinking, no answer"),
        (["<think>I should decline."], "only thinking, no answer"),
    ],
    ids=["500", "drop", "filter", "empty", "blank", "no choices", "null choices", "cut", "reasoning", "thinking"],
)
def test_what_stays_wrong_is_an_error_and_the_next_run_pays_for_it_alone(server, ask, script, error):
    server.script = ["first", *script]
    found = ask(["a", "b", "c"])
    assert found[0] == ("first", None) and found[2] == ("reply to c", None)
    assert found[1][0] == "" and found[1][1].startswith(error)
    calls = len(server.calls)
    assert ask(["a", "b", "c"]) == [("first", None), ("reply to b", None), ("reply to c", None)]
    assert server.asked[calls:] == ["b"]


def test_thinking_is_no_part_of_a_revision_and_a_cut_one_ends_with_a_sentence(server, ask):
    server.script = ["<think>Decline.</think>\n\nI won't.", message("I won't. It is", "length")]
    assert ask(["a", "b"]) == [("I won't.", None), ("I won't.", None)]


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
def test_a_body_that_is_no_completion_is_an_error_too(server, ask, body):
    server.script = ["first"] + [body] * 5
    found = ask(["a", "b"])
    assert found[0] == ("first", None) and found[1][0] == "" and found[1][1]
    assert server.cache.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
def test_a_request_that_is_refused_as_such_stops_at_once_and_keeps_what_was_paid(server, ask, status):
    server.script = ["first", refusal(status, "no credit left")]
    told = f"HTTP {status} for model 'm' \\(no credit left\\); check OPENAI_API_KEY, teacher_model and teacher_url"
    with pytest.raises(CompanionError, match=told):
        ask(["a", "b", "c"])
    assert len(server.calls) == 2
    assert ask(["a"]) == [("first", None)] and len(server.calls) == 2


@pytest.mark.parametrize("act", ["", 500, "<think>on and on", refusal(400, "filtered", code="content_filter")])
def test_a_teacher_that_never_answers_stops_within_a_dozen_texts(server, ask, act):
    server.habit = lambda request: act
    with pytest.raises(CompanionError, match="teacher api: 12 calls in a row without a usable answer, the last from"):
        ask([f"text {k}" for k in range(40)])
    assert len(set(server.asked)) == endpoint.GIVE_UP and not server.cache.exists()


def test_a_model_that_takes_no_temperature_is_asked_without_it_and_the_row_says_so(server, ask):
    def picky(request):
        return refusal(400, "no", param="temperature") if "temperature" in request else "Fine, then."

    server.habit = picky
    assert ask(["a", "b"]) == [("Fine, then.", None)] * 2 and len(server.calls) == 3
    assert [row.without for row in files.read_appended(server.cache, rows.Paid)] == [["temperature"]] * 2


def test_another_model_or_endpoint_is_another_answer(server, ask, monkeypatch):
    ask(["a"])
    ask(["a"], model="other")
    for path in ("one/v1", "two/v1"):
        monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("/v1", f"/{path}"))
        teacher.api("m", "", server.cache)(["a"])
    assert len(server.calls) == 4


def test_a_line_cut_by_a_crash_is_paid_again_and_spoils_no_other(server, ask):
    ask(["a", "b"])
    content = server.cache.read_bytes()
    server.cache.write_bytes(content[:-7])
    assert ask(["a", "b"]) == [("reply to a", None), ("reply to b", None)]
    assert server.asked == ["a", "b", "b"]
    assert server.cache.read_bytes() == content


@pytest.mark.parametrize("sign", ["\n", "ü", '"', "\\n", "\u2028"])
def test_any_paid_text_is_read_back(server, ask, sign):
    server.script = [f"one{sign}two"]
    assert ask(["a"]) == ask(["a"]) == [(f"one{sign}two", None)]
    assert len(server.calls) == 1


def test_each_answer_is_on_disk_before_the_next_call(server, ask):
    seen = []

    def watched(request):
        seen.append(server.cache.read_bytes().count(b"\n") if server.cache.exists() else 0)
        return "Fine."

    server.habit = watched
    ask(["a", "b", "c"])
    assert seen == [0, 1, 2]


def test_the_key_is_in_no_file(server, ask, tmp_path):
    server.script = [*[refusal(500, f"key {SECRET}")] * 5, refusal(400, f"flagged {SECRET}")]
    assert all(error and SECRET not in error for _, error in ask(["a", "b"]))
    ask(["c"])
    assert [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and SECRET in p.read_text(encoding="utf-8")]
