"""Row files: what is written is what is read, and what is malformed is refused by name."""

import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import rows
from lib.errors import CompanionError

VALUES = {
    str: "Grüße\n“quoted” \u2028 end",
    int: 1,
    float: 0.5,
    bool: True,
    list[str]: ["a", "b"],
}


def kinds(base=rows.Row):
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def value(annotation):
    """A value of an annotation: the first of a Literal or a union."""
    if annotation in VALUES:
        return VALUES[annotation]
    first = typing.get_args(annotation)[0]
    return first if typing.get_origin(annotation) is typing.Literal else value(first)


def example(kind):
    return kind(**{name: value(f.annotation) for name, f in kind.model_fields.items() if f.is_required()})


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda k: k.__name__))
def test_every_row_type_survives_a_round_trip(kind, tmp_path):
    row = example(kind)
    rows.write(tmp_path / "x.jsonl", [row])
    assert rows.read(tmp_path / "x.jsonl", kind) == [row]


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_text_survives(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "x.jsonl"
    row = rows.Answer(id="a", answer=text)
    assert rows.read(rows.write(path, [row]), rows.Answer) == [row]


GOOD = json.dumps({"id": "a", "answer": "yes"})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (GOOD + "\n" + '{"id": "b", "ans', ":2: not one JSON object"),
        (GOOD + "\n" + '{"id": "b", "answer": "x", "extra": 1}', ":2: field extra"),
        ('{"id": "b", "answer": 3}', ":1: field answer"),
        ('{"id": "b"}', ":1: field answer"),
        (GOOD + "\\n" + GOOD, ":1: not one JSON object"),  # a literal backslash-n between two objects
        (GOOD + "\n" + GOOD, "id a stands 2 times"),
    ],
)
def test_a_malformed_file_is_refused_with_line_and_field(content, told, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CompanionError, match=r"x\.jsonl") as caught:
        rows.read(path, rows.Answer)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_latin_1_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"id": "a", "answer": "Gr\xfc\xdfe"}')
    with pytest.raises(CompanionError, match="UTF-8"):
        rows.read(tmp_path / "x.jsonl", rows.Answer)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = rows.write(tmp_path / "x.jsonl", [rows.Answer(id="a", answer="old")])

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows.os, "fsync", full)
    with pytest.raises(OSError):
        rows.write(path, [rows.Answer(id="a", answer="new")])
    assert rows.read(path, rows.Answer)[0].answer == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_field_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a", "answer": "yes", "answer": "no"}\n')
    with pytest.raises(
        CompanionError, match=r"answers\.jsonl:1: not one JSON object on the line \(field answer stands twice"
    ):
        rows.read(path, rows.Answer)
