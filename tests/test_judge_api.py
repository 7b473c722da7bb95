"""The api judge against a small server on loopback that behaves as servers do, well and badly."""

import json
import os
import signal
import socket
import threading
import time

import pytest
import simulate
from ethical_personas import files
from ethical_personas.errors import CompanionError, redact
from ethical_personas.judge import api, judging
from ethical_personas.models import endpoint
from ethical_personas.run import Run
from ethical_personas.safety import judged
from ethical_personas.study import rows
from ethical_personas.workflow import execute
from loopback import message, refusal

DECLINED, COMPLIED = '{"verdict": "declined"}', '{"verdict": "complied"}'
SECRET = "sk-proj-PRETENDSECRET0123456789"


@pytest.fixture
def judge(server, tmp_path, monkeypatch):
    """Ask the api judge about n responses; it declines unless the server's script says otherwise.

    One call after the other, so that a script meets the responses in their order; `side_by_side` sets it back.
    """
    server.habit = lambda request: DECLINED
    monkeypatch.setattr(api, "AT_ONCE", 1)

    def ask(n, name="j.jsonl", url=""):
        return judging.judge(responses(n), "api", model="judge-1", url=url or server.url, cache=tmp_path / name)

    return ask


AT_ONCE = api.AT_ONCE


@pytest.fixture
def side_by_side(judge, monkeypatch):
    """The same with as many calls at once as a run makes."""
    monkeypatch.setattr(api, "AT_ONCE", AT_ONCE)
    return judge


def responses(n):
    return [
        rows.Response(
            id=f"p{i}", model="source", category="illegal", prompt=f"Q{i}", response=f"A{i}", tokens=3, finished=True
        )
        for i in range(n)
    ]


def test_verdicts_and_tokens(server, judge):
    server.script = [DECLINED, COMPLIED]
    found = judge(2)
    assert [j.verdict for j in found] == ["declined", "complied"]
    assert "Q0" in server.asked[0] and "A0" in server.asked[0] and server.calls[0]["temperature"] == 0
    assert {(j.tokens_in, j.tokens_out, j.without) for j in found} == {(200, 7, None)}


@pytest.mark.parametrize("trouble", [[429, 429], [500, 503], ["drop"], [429, "drop", 500]])
def test_passing_trouble_is_retried(server, judge, trouble):
    server.script = [*trouble, COMPLIED]
    assert [j.verdict for j in judge(1)] == ["complied"]
    assert len(server.calls) == len(trouble) + 1


def test_a_busy_endpoint_is_left_alone_for_as_long_as_it_asks(server, judge):
    # Fifty times the back-off that the fixture leaves: only the header can make the client wait so long.
    server.script = [refusal(429, wait="1"), COMPLIED]
    assert [j.verdict for j in judge(1)] == ["complied"]
    first, second = server.times
    assert second - first >= 1


READ = {
    "plain": DECLINED,
    "fence": f"```json\n{DECLINED}\n```",
    "bare fence": f"```\n{DECLINED}\n```",
    "prose and a fence": f"Here it is:\n```json\n{DECLINED}\n```\nI hope that helps.",
    "half a fence": f"```json\n{DECLINED}",
    "thinking": f"<think>\nIs it {COMPLIED}? No.\n</think>\n\n{DECLINED}",
    "thinking, opened by the template": f"It objects.\n</think>{DECLINED}",
    "extra field": '{"verdict": "declined", "reason": "it objects"}',
    "capital": '{"verdict": "Declined"}',
    "parts": message([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": DECLINED}]),
    "all in the reasoning": message(None, reasoning_content=f"It objects.\n{DECLINED}"),
    "beside its reasoning": message(DECLINED, reasoning=f"Perhaps {COMPLIED}"),
}
NOT_READ = {
    "html": (b"<html>gateway</html>", "bad body"),
    "cut": (b'{"id": "x", "choices": [', "bad body"),
    "deep": (b"[" * 100_000, "bad body"),
    "error in a body": (b'{"error": {"message": "upstream is out"}}', "bad body: {'message': 'upstream is out'"),
    "no choices": (b'{"id": "x", "object": "chat.completion", "choices": []}', "empty answer"),
    "empty": ("", "empty answer"),
    "prose": ("The model declined.", "no JSON verdict: The model declined."),
    "another verdict": ('{"verdict": "refused"}', "no JSON verdict"),
    "two": (f"{DECLINED} {COMPLIED}", "no JSON verdict"),
    "two fences": (f"```\n{DECLINED}\n```\n```\n{COMPLIED}\n```", "no JSON verdict"),
    "list": ('["declined"]', "no JSON verdict"),
    "thinking only": (f"<think>{DECLINED}", "only thinking, no answer"),
    "reasoning only": (message(None, reasoning_content="I think it declined."), "only thinking, no answer"),
    "reasoning cut": (message(None, "length", reasoning_content=f"Say\n{DECLINED}"), "only thinking, no answer"),
}


@pytest.mark.parametrize("act", READ.values(), ids=READ)
def test_habits_of_servers_are_read(server, judge, act):
    server.script = [act]
    (found,) = judge(1)
    assert (found.verdict, found.error) == ("declined", None)


@pytest.mark.parametrize(("act", "reason"), NOT_READ.values(), ids=NOT_READ)
def test_what_is_no_clear_verdict_is_none(server, judge, act, reason):
    server.script = [act]
    (found,) = judge(1)
    assert found.verdict is None and found.error.startswith(reason)


@pytest.mark.parametrize(("act", "reason"), NOT_READ.values(), ids=NOT_READ)
def test_a_judge_that_never_answers_stops_within_a_dozen_calls(server, judge, tmp_path, act, reason):
    """It must not end as a finished study, nor leave failures that a repaired judge would not be asked about."""
    server.habit = lambda request: act
    with pytest.raises(CompanionError) as error:
        judge(40)
    assert f"12 calls in a row without a usable answer, the last from {server.url}" in str(error.value)
    assert reason in str(error.value) and len(str(error.value).splitlines()) == 1
    assert len(server.calls) == endpoint.GIVE_UP and not (tmp_path / "j.jsonl").exists()
    server.habit = lambda request: DECLINED
    assert {j.verdict for j in judge(40)} == {"declined"}, "the count begins anew"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 422])
def test_a_request_that_is_refused_as_such_stops_at_once(server, judge, status):
    server.script = [DECLINED, refusal(status, "Insufficient credits", code=status)]
    told = (
        f"HTTP {status} for model 'judge-1' \\(Insufficient credits\\); check OPENAI_API_KEY, judge_model and judge_url"
    )
    with pytest.raises(CompanionError, match=told):
        judge(30)
    assert len(server.calls) == 2
    assert {j.verdict for j in judge(30)} == {"declined"} and len(server.calls) == 2 + 29


def test_an_empty_account_is_not_waited_for(server, judge):
    server.habit = lambda request: refusal(429, "You exceeded your quota", code="insufficient_quota")
    with pytest.raises(CompanionError, match=r"HTTP 429 .*\(You exceeded your quota\)"):
        judge(30)
    assert len(server.calls) == 1 + endpoint.RETRIES


def test_a_text_that_a_filter_refuses_is_one_row_without_a_verdict(server, judge):
    server.script = [DECLINED, refusal(400, "The response was filtered", code="content_filter"), COMPLIED]
    found = judge(3)
    assert [j.verdict for j in found] == ["declined", None, "complied"]
    assert found[1].error == "text refused: The response was filtered"


def picky(request):
    """A reasoning model's endpoint: only the default temperature, and another name for the token limit."""
    told = "Unsupported value: '{}' does not support this with this model. Only the default is supported."
    if "temperature" in request:
        return refusal(400, told.format("temperature"), param="temperature", code="unsupported_value")
    if "max_tokens" in request:
        return refusal(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    return DECLINED


def test_a_parameter_that_a_model_refuses_is_dropped_once_and_noted(server, judge, tmp_path):
    server.habit = picky
    assert {j.verdict for j in judge(5)} == {"declined"}
    assert len(server.calls) == 6, "one refusal in all"
    assert {tuple(row.without) for row in files.read_appended(tmp_path / "j.jsonl", rows.Judgement)} == {
        ("temperature",)
    }
    reply = endpoint.connect("teacher", "m", server.url).ask(
        [{"role": "user", "content": "x"}], lambda text, _: text, temperature=0, max_tokens=40
    )
    assert (reply.value, reply.without) == (DECLINED, ["temperature", "max_tokens"])
    assert server.calls[-1]["max_completion_tokens"] == 40 and "max_tokens" not in server.calls[-1]


def test_a_value_that_is_still_refused_is_fatal(server, judge):
    server.habit = lambda request: refusal(400, "'temperature' is not for you", param="temperature")
    with pytest.raises(CompanionError, match="'temperature' is not for you"):
        judge(5)
    assert len(server.calls) == 2


def test_a_failed_call_is_asked_again_and_an_unclear_answer_is_not(server, judge):
    failed = [500] * (endpoint.RETRIES + 1)
    server.script = [COMPLIED, *failed, DECLINED, "not json", DECLINED]
    found = judge(5)
    assert [j.verdict for j in found] == ["complied", None, "declined", None, "declined"]
    assert [j.error.split(":")[0] for j in found if j.error] == ["HTTP 500", "no JSON verdict"]
    with pytest.raises(CompanionError, match=r"judge api: 1 of 5 responses without a verdict \(HTTP 500: scripted\)"):
        judging.check_complete(found)
    before = len(server.calls)
    assert [j.verdict for j in judge(5)] == ["complied", "declined", "declined", None, "declined"]
    assert len(server.calls) == before + 1
    judge(5)
    assert len(server.calls) == before + 1


def test_timeout_is_a_failed_call(server, judge, monkeypatch):
    monkeypatch.setattr(endpoint, "TIMEOUT", 0.15)
    monkeypatch.setattr(endpoint, "RETRIES", 1)
    server.script = ["hang", "hang", COMPLIED]
    found = judge(2)
    assert found[0].verdict is None and found[0].error.startswith("timeout")
    assert found[1].verdict == "complied"


def test_a_server_that_hangs_is_given_up(server, judge, monkeypatch):
    monkeypatch.setattr(endpoint, "TIMEOUT", 0.15)
    monkeypatch.setattr(endpoint, "PATIENCE", 0.5)
    server.habit = lambda request: "hang"
    with pytest.raises(CompanionError, match=r"2 calls in a row .*: timeout: no answer in time; run again"):
        judge(30)


def test_a_port_where_nobody_listens_is_given_up_in_seconds(tmp_path, monkeypatch):
    """With the client's real waits, for all models of a stage together: a dozen calls, and no more."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    run = run_of(tmp_path)
    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        with pytest.raises(CompanionError, match=rf"12 calls in a row .* from {url} .*: connection: .*refused"):
            judged.safety(run, ["source", CELL], judging.Judge("api", "m", url))
    assert not list(tmp_path.glob("judgements/**/*.jsonl"))


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_a_verdict_is_on_disk_before_another_call_takes_its_place(server, judge, tmp_path, monkeypatch, at_once):
    synced, ahead = [], []
    real = os.fsync
    monkeypatch.setattr(api, "AT_ONCE", at_once)
    monkeypatch.setattr(os, "fsync", lambda f: (synced.append(len(server.calls)), real(f)))

    def watched(request):
        ahead.append(len(server.calls) - lines(tmp_path / "j.jsonl"))
        return DECLINED

    server.habit = watched
    judge(20)
    assert max(ahead) <= at_once and len(synced) == lines(tmp_path / "j.jsonl") == 20
    if at_once == 1:
        assert set(ahead) == {1} and synced == [*range(1, 21)]


def question(request):
    """Which of `responses` a request is about."""
    return int(request["messages"][1]["content"].partition("Q")[2].partition("\n")[0])


def test_calls_overlap_and_verdicts_keep_the_order_of_the_responses(server, side_by_side):
    together, now, most = threading.Barrier(AT_ONCE), [], []

    def habit(request):
        now.append(request)
        most.append(len(now))
        together.wait(20)  # none is answered before so many are there
        time.sleep(0.02 * (3 - question(request) % 4))  # the last of them first
        now.pop()
        return (DECLINED, COMPLIED)[question(request) % 2]

    server.habit = habit
    found = side_by_side(4 * AT_ONCE)
    assert max(most) == AT_ONCE > 1
    assert [j.id for j in found] == [f"p{n}" for n in range(4 * AT_ONCE)]
    assert [j.verdict for j in found] == ["declined", "complied"] * 2 * AT_ONCE


def test_when_a_call_fails_each_verdict_that_was_paid_for_is_on_disk(server, side_by_side, tmp_path):
    """Those that had come in, and one that is still under way then; no other call begins."""
    kept, refused = tmp_path / "j.jsonl", threading.Event()

    def habit(request):
        if question(request) == 1:
            refused.wait(20)
            time.sleep(0.2)
        elif question(request) == 3:
            while lines(kept) < 8:  # all but these two
                time.sleep(0.01)
            refused.set()
            return refusal(403, "no more credit")
        return DECLINED

    server.habit = habit
    with pytest.raises(CompanionError, match=r"HTTP 403 .*what was paid for is kept"):
        side_by_side(10)
    assert lines(kept) == 9 and len(server.calls) == 10
    server.habit = lambda request: DECLINED
    assert {j.verdict for j in side_by_side(10)} == {"declined"}
    assert [question(call) for call in server.calls[10:]] == [3]


def test_ctrl_c_keeps_the_verdicts_of_calls_under_way(server, side_by_side, tmp_path, monkeypatch):
    last, real = threading.Event(), api.wait

    def wait(calls, *options, **more):
        if len(calls) == 1:
            last.set()
        return real(calls, *options, **more)

    def habit(request):
        if question(request) == 1:
            last.wait(20)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.2)
        return DECLINED

    server.habit = habit
    monkeypatch.setattr(api, "wait", wait)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side(2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert lines(tmp_path / "j.jsonl") == 2


def test_one_slow_call_among_good_ones_is_no_silence(server, monkeypatch):
    """Its patience counts from the last usable answer, not from when the slow call began."""
    monkeypatch.setattr(endpoint, "PATIENCE", 0.3)
    heard = endpoint.Endpoint("judge", "m", "http://x", None)
    began = time.monotonic()
    time.sleep(0.4)
    heard._count(None, time.monotonic())
    heard._count("timeout", began)
    heard._count("bad body", time.monotonic())
    time.sleep(0.4)
    with pytest.raises(CompanionError, match="3 calls in a row"):
        heard._count("bad body", time.monotonic())


def test_calls_side_by_side_stop_together(server, side_by_side, tmp_path):
    """A refusal at the first ones; a dozen failures, and those that were under way; and the count begins anew."""
    server.habit = lambda request: refusal(401)
    with pytest.raises(CompanionError, match="HTTP 401"):
        side_by_side(40)
    assert len(server.calls) <= AT_ONCE
    server.habit = lambda request: b"<html>gateway</html>"
    for _ in range(2):
        server.calls.clear()
        with pytest.raises(CompanionError, match=f"{endpoint.GIVE_UP} calls in a row without a usable answer"):
            side_by_side(40)
        assert endpoint.GIVE_UP <= len(server.calls) < endpoint.GIVE_UP + AT_ONCE
    assert not (tmp_path / "j.jsonl").exists()


def test_calls_side_by_side_drop_a_refused_parameter_together(server, side_by_side, tmp_path):
    server.habit = picky
    assert {j.verdict for j in side_by_side(20)} == {"declined"}
    assert 21 <= len(server.calls) <= 20 + AT_ONCE
    rows_kept = files.read_appended(tmp_path / "j.jsonl", rows.Judgement)
    assert {tuple(row.without) for row in rows_kept} == {("temperature",)}


def test_killed_run_keeps_what_it_paid_for(server, judge, monkeypatch):
    plain = endpoint.Endpoint.ask

    def killed(self, messages, *args, **options):
        if "Q2" in messages[1]["content"]:
            raise KeyboardInterrupt
        return plain(self, messages, *args, **options)

    monkeypatch.setattr(endpoint.Endpoint, "ask", killed)
    with pytest.raises(KeyboardInterrupt):
        judge(4)
    monkeypatch.setattr(endpoint.Endpoint, "ask", plain)
    judge(4)
    assert len(server.calls) == 4


CELL = "virtue-harassment-s0"


def run_of(folder):
    """A run with responses of two models, 25 each."""
    frame = simulate.frame(gain=0.8, constitutions=("virtue",), scopes=("harassment",), per_category=3, harmless=(3, 4))
    simulate.write_run(folder, frame)
    return Run(str(folder), "cpu")


def test_each_response_is_asked_once_whatever_needs_it(server, tmp_path):
    run = run_of(tmp_path)
    unclear = iter(range(10_000))
    server.habit = lambda request: "not json" if next(unclear) % 4 == 0 else COMPLIED
    asked = (run, ["source", CELL], judging.Judge("api", "m", server.url))
    judged.judge_all(*asked)
    texts = [tuple(turn["content"] for turn in call["messages"]) for call in server.calls]
    assert len(texts) == len(set(texts)) > 50
    frame = judged.safety(*asked)
    assert 0 < frame["declined"].isna().sum() < 25
    judged.swapped(*asked)
    read = judged.labelled(*asked)
    judged.corrected(run, frame, read, *asked[2:])
    judged.judge_report(run, read, *asked[2:])
    judged.safety(run, [CELL], *asked[2:])
    assert len(server.calls) == len(texts)


def test_hosted_endpoint_without_key_and_missing_model_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(CompanionError, match="OPENAI_API_KEY is not set"):
        judging.judge(responses(1), "api", model="m", cache=tmp_path / "j.jsonl")
    with pytest.raises(CompanionError, match="judge_model is empty"):
        judging.judge(responses(1), "api", url="http://127.0.0.1:9/v1", cache=tmp_path / "j.jsonl")


def test_model_and_endpoint_are_part_of_the_version(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    stamps = {judging.version("api", m, u) for m in ("a", "b") for u in ("http://x/v1", "http://y/v1", "")}
    assert len(stamps) == 6
    monkeypatch.setenv("OPENAI_BASE_URL", "http://x/v1/")
    assert judging.version("api", "a") == judging.version("api", "a", "http://x/v1")


def test_two_endpoints_named_by_the_environment_share_no_verdict(server, tmp_path, monkeypatch):
    server.script = [DECLINED, COMPLIED]
    found = []
    for path in ("one/v1", "two/v1"):
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url.removesuffix('/v1')}/{path}")
        found += judging.judge(responses(1), "api", model="m", cache=tmp_path / "j.jsonl")
    assert [j.verdict for j in found] == ["declined", "complied"]


@pytest.mark.parametrize(
    "proxy", ["http://user:pw@127.0.0.1:9", "socks5://user:pw@127.0.0.1:9", "socks4://127.0.0.1:9"]
)
def test_proxies_are_not_for_this_machine(server, judge, monkeypatch, proxy):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert [j.verdict for j in judge(1, url=server.url)] == ["declined"]
    assert [j.verdict for j in judge(1, "k.jsonl", url=server.url.replace("127.0.0.1", "localhost"))] == ["declined"]
    if proxy.startswith("socks"):
        with pytest.raises(CompanionError, match=r"the proxy in ALL_PROXY.*cannot be used") as error:
            judge(1, "l.jsonl", url="http://judge.invalid/v1")
        assert "pw@" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("127.0.0.1:8000/v1", "field judge_url: '127.0.0.1:8000/v1' is no web address"),
        ("https://me:secretword@host/v1", "field judge_url holds a password or key; put it in OPENAI_API_KEY"),
        ("https://host/v1?api_key=secretword", "field judge_url holds a password or key"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line_without_its_secret(judge, url, told):
    with pytest.raises(CompanionError, match=told.replace("?", r"\?")) as error:
        judge(1, url=url)
    assert "secretword" not in str(error.value)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "  "])
def test_blanks_around_a_key_are_not_sent(server, judge, monkeypatch, end):
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}{end}")
    assert [j.verdict for j in judge(3)] == ["declined"] * 3
    assert {h["authorization"] for h in server.headers_seen} == {f"Bearer {SECRET}"}


@pytest.mark.parametrize("sign", ["ü", "a b", "\u200b"])
def test_a_key_that_cannot_be_one_is_said_without_it(judge, monkeypatch, sign):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET + sign + "x")
    with pytest.raises(CompanionError, match="OPENAI_API_KEY holds a blank or a letter that no key has") as error:
        judge(1)
    assert SECRET not in str(error.value)


def echo(status):
    """A server that says the key it was given, as some do."""
    return refusal(status, f"Incorrect API key provided: {SECRET}. Header: Bearer {SECRET}")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("habit", ["401", "answer"])
def test_no_file_of_a_failing_run_holds_the_key(server, tmp_path, monkeypatch, capfd, habit):
    """The stage itself, as the graph runs it: executed notebook, caches, figures and what the terminal shows."""
    monkeypatch.setenv("OPENAI_API_KEY", f"{SECRET}\r")
    server.habit = lambda request: f"Your key is {SECRET}" if habit == "answer" else echo(int(habit))
    run_of(tmp_path)
    given = {"run_dir": str(tmp_path), "figures_dir": str(tmp_path / "figures"), "constitutions": ["virtue"]}
    given |= {"scopes": ["harassment"], "controls": [], "dose_cells": []}
    given |= {"judge": "api", "judge_model": "m", "judge_url": server.url}
    assert execute.execute("04_emergent_alignment", tmp_path / "notebooks/04.ipynb", given) == 1
    shown = "".join(capfd.readouterr())
    assert "CompanionError: judge api: " in shown and SECRET not in shown and "PRETENDSECRET" not in shown
    files_left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert any(p.suffix == ".ipynb" for p in files_left) and not any("figures" in p.parts for p in files_left)
    assert [p for p in files_left if b"PRETENDSECRET" in p.read_bytes()] == []
    assert server.headers_seen[0]["authorization"] == f"Bearer {SECRET}"


def test_a_verdict_beside_an_error_that_shows_the_key_leaves_no_key_on_disk(server, judge, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    server.script = [*[echo(500)] * (endpoint.RETRIES + 1), f"Your key is {SECRET}", DECLINED]
    assert [j.verdict for j in judge(3)] == [None, None, "declined"]
    assert SECRET not in (tmp_path / "j.jsonl").read_text() and "[hidden]" in (tmp_path / "j.jsonl").read_text()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://me:pw@host/v1 now", "at https://[hidden]@host/v1 now"),
        ("GET /v1?api_key=abc123&x=1", "GET /v1?api_key=[hidden]&x=1"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [hidden]"),
        ("given sk-proj-abcdef123 here", "given [hidden] here"),
        ("the token of the day", "the token of the day"),
        ("folder //share/a@b", "folder //share/a@b"),
    ],
)
def test_what_looks_like_a_credential_is_hidden(text, shown):
    assert redact(text) == shown


def test_secrets_of_the_environment_are_hidden(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh\n")
    assert str(CompanionError("no access with hf_abcdefgh")) == "no access with [hidden]"


def test_instructions_and_reply_form_are_the_judges_own():
    assert all(json.dumps({"verdict": v}) in api.INSTRUCTIONS for v in ("declined", "complied"))
