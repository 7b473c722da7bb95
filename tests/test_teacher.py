"""A live teacher: rounds in order, failures as reasons, answers kept and never asked for twice."""

from types import SimpleNamespace

import pytest
import training_sets
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.generate import revisions, teacher, training_rows
from ethical_personas.models import decode
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, rows

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


def parameters(**given):
    usual = {"teacher": "api", "teacher_model": "m", "teacher_url": "", "teacher_min_share": 1.0, "scopes": ["illegal"]}
    usual |= {"rows_per_scope": 3, "answer_tokens": 6, "decode_batch": 2, "repetition_penalty": 1.1}
    return SimpleNamespace(**usual | given)


def decline(text):
    """A critique or revision of its own for each request, as a good teacher writes it."""
    if text.endswith("one sentence."):
        return "It forgets everyone whom this would hurt."
    request = text.rpartition("\nAnswer: ")[0].rpartition("Request: ")[2]
    return f"I won't help with this: {request} Think of those whom it would hurt."


def test_a_refused_text_is_a_dropped_row(monkeypatch, tmp_path):
    def failing(*_):
        return lambda texts: [
            ("", "text refused: filter") if n == 0 else (decline(t), None) for n, t in enumerate(texts)
        ]

    monkeypatch.setattr(teacher, "api", failing)
    law, run = materials.constitution("virtue"), Run(str(tmp_path), "cpu")
    found = revisions.revise_harmful(None, law, run, parameters(teacher_min_share=0.3), FIRST)
    assert found[0].dropped == "text refused" and found[0].answer == ""
    assert files.read(files.write(tmp_path / "x.jsonl", found), rows.SftRow) == found
    with pytest.raises(CompanionError, match="usable"):
        training_rows.select([r for r in found if r.dropped], "illegal", 1, 0, 0, 0)


@pytest.mark.parametrize("error", ["timeout: no answer", "HTTP 500: out", "connection: refused", "bad body: html"])
def test_an_endpoint_that_failed_on_some_stops_the_stage(monkeypatch, tmp_path, error):
    monkeypatch.setattr(
        teacher, "api", lambda *_: lambda texts: [(decline(texts[0]), None)] + [("", error)] * (len(texts) - 1)
    )
    with pytest.raises(CompanionError, match=r"teacher api:m: 2 of 3 rounds failed .*; run again, what was paid for"):
        revisions.revise_harmful(None, materials.constitution("virtue"), Run(str(tmp_path), "cpu"), parameters(), FIRST)


def test_only_the_rows_that_are_trained_on_and_spare_ones_are_asked_for():
    def count(*given):
        found = training_rows.prompts_needed(*given)
        return {c: sum(p.category == c for p in found) for c in grid.CATEGORIES if any(p.category == c for p in found)}

    assert count(["illegal"], 24, 1.0) == {"illegal": 24}
    assert count(["illegal"], 24, 0.8) == {"illegal": 30}
    assert count(["broad"], 24, 0.8) == dict.fromkeys(grid.CATEGORIES, 5)
    assert count(["broad", "harassment"], 24, 0.8) == dict.fromkeys(grid.CATEGORIES, 5) | {"harassment_bullying": 30}
    assert len(training_rows.prompts_needed(["broad"], 24, 0.0)) == len(materials.prompts("train", *grid.CATEGORIES))
    # What select takes for a scope is among them.
    ids = {p.id for p in training_rows.prompts_needed(["broad", "illegal"], 96, 1.0)}
    for scope in ("broad", "illegal"):
        assert {r.id for r in training_sets.chosen("virtue", scope, 96, 0, 0, 0) if r.kind == "harmful"} <= ids


@pytest.mark.parametrize("kind", ["local", "api"])
def test_answers_criticised_are_the_runs_own_source_models(load, tmp_path, kind):
    chat, law, run = load(), materials.constitution("virtue"), Run(str(tmp_path), "cpu")
    p = parameters(teacher=kind)
    found = revisions.first_answers(chat, law, run, p)
    asked = training_rows.prompts_needed(["illegal"], 3, 1.0)
    own = decode.answers(chat, [x.prompt for x in asked], 6, 2, 1.1)
    assert found == {x.id: a.text for x, a in zip(asked, own, strict=True)} and any(found.values())
    assert not set(found.values()) & set(FIRST.values()), "the recorded ones are another model's"
    assert revisions.first_answers(None, law, run, parameters(teacher="bundled")) == FIRST


def test_a_paid_teacher_reads_the_answers_of_the_runs_own_source_model(load, tmp_path, monkeypatch):
    chat, law, run, seen = load(), materials.constitution("virtue"), Run(str(tmp_path), "cpu"), []

    def ask(texts):
        seen.extend(texts)
        return [(decline(text), None) for text in texts]

    monkeypatch.setattr(teacher, "api", lambda *_: ask)
    p = parameters(teacher_min_share=0.1)
    found = revisions.first_answers(chat, law, run, p)
    revisions.revise_harmful(chat, law, run, p, found)
    asked = {x.id: x.prompt for x in training_rows.prompts_needed(["illegal"], 3, 0.1)}
    told = [f"Request: {asked[i]}\nAnswer: {text}\n" for i, text in found.items()]
    assert len(told) > 3 and len(seen) == 2 * len(told)
    assert all(sum(own in text for text in seen) == 2 for own in told), "critique and revision"


def test_a_killed_local_teacher_goes_on_where_it_stopped(load, tmp_path, monkeypatch):
    chat, cache, asked = load(), tmp_path / "teacher.jsonl", []
    plain, texts = decode.answers, [p.prompt for p in materials.prompts("train", "illegal")[:6]]
    wanted = teacher.local(chat, tmp_path / "other.jsonl", 6, 2, 1.1, whole=False)(texts)

    def killed(chat, part, *args, **options):
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.extend(part)
        return plain(chat, part, *args, **options)

    ask = teacher.local(chat, cache, 6, 2, 1.1, whole=False)
    monkeypatch.setattr(decode, "answers", killed)
    with pytest.raises(KeyboardInterrupt):
        ask(texts)
    monkeypatch.setattr(
        decode, "answers", lambda chat, part, *a, **o: (asked.extend(part), plain(chat, part, *a, **o))[1]
    )
    again = teacher.local(chat, cache, 6, 2, 1.1, whole=False)
    assert again(texts) == wanted and sorted(asked) == sorted(texts)
    assert again(texts) == wanted and len(asked) == 6
    teacher.local(chat, cache, 7, 2, 1.1)(texts[:1])
    assert len(asked) == 7, "another decoding is another answer"


def test_a_missing_key_or_model_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(CompanionError, match="teacher_model"):
        teacher.api("", "", tmp_path / "x")
    with pytest.raises(CompanionError, match="OPENAI_API_KEY"):
        teacher.api("m", "", tmp_path / "x")
