"""Row files: what is written is what is read; odd contents, any bytes and a disk that fills up are refused by name."""

import json
import types
import typing

import pytest
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.study import rows
from hypothesis import given, settings
from hypothesis import strategies as st


def kinds(base=files.Row):
    found = {base} if base is not files.Row else set()
    return found.union(*(kinds(k) for k in base.__subclasses__()))


KINDS = sorted((k for k in kinds() if k.__module__ == "ethical_personas.study.rows"), key=lambda k: k.__name__)
TEXT = st.one_of(st.text(min_size=1), st.sampled_from(["a\u2028b", "a\x85b", "a\nb\r\n", "\\n", "{}", "\ufeffx", '"']))


def values(annotation):
    """A strategy for a field's type; a type that nobody thought of fails here, by name."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values, typing.get_args(annotation)))
    if origin is typing.Literal:
        return st.sampled_from(typing.get_args(annotation))
    if origin is list:
        return st.lists(values(*typing.get_args(annotation)), max_size=3)
    if origin is tuple:
        return st.tuples(*map(values, typing.get_args(annotation)))
    if origin is dict:
        return st.dictionaries(*map(values, typing.get_args(annotation)), max_size=3)
    plain = {
        str: TEXT,
        int: st.integers(min_value=0, max_value=2**40),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        types.NoneType: st.none(),
    }
    return plain[annotation]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_field_of_every_row_type_survives(kind, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "x.jsonl"

    @given(st.lists(st.builds(kind, **{n: values(f.annotation) for n, f in kind.model_fields.items()}), max_size=3))
    def survives(found):
        name = kind.KEY[0]  # no two rows with the same
        found = [r.model_copy(update={name: f"{n}{getattr(r, name)}"}) for n, r in enumerate(found)]
        assert files.read(files.write(path, found), kind) == found
        assert path.read_bytes().count(b"\n") == len(found)

    survives()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_row_type_refuses_an_unknown_key_and_a_missing_field(kind):
    with pytest.raises(CompanionError, match=f"x:1: field id: .*; a {kind.__name__} row"):
        files.parse_line(b"{}", kind, "x:1")

    @settings(max_examples=5)
    @given(st.builds(kind, **{n: values(f.annotation) for n, f in kind.model_fields.items()}))
    def refuses(good):
        line = json.dumps(good.model_dump() | {"surplus": 1}).encode()
        with pytest.raises(CompanionError, match="x:1: field surplus: Extra inputs"):
            files.parse_line(line, kind, "x:1")

    refuses()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "x.jsonl"
    path.write_bytes(content)
    try:
        files.read(path, rows.Initial)
    except CompanionError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"[" * 100_000, id="deeply nested"),
        pytest.param(b'{"id": "a", "initial": ' + b"1" * 5000 + b"}", id="endless number"),
    ],
)
def test_json_that_python_will_not_parse_is_refused_too(line):
    with pytest.raises(CompanionError, match="x:7"):
        files.parse_line(line, rows.Initial, "x:7")


@pytest.mark.parametrize("value", ['"1"', "true", "1.0", "null"])
def test_a_value_is_never_taken_from_another_type(value):
    line = f'{{"id": "a", "model": "m", "category": "c", "prompt": "p", "response": "r", "tokens": {value}'
    with pytest.raises(CompanionError, match="field tokens"):
        files.parse_line((line + ', "finished": true}').encode(), rows.Response, "x:1")


def test_a_reader_of_the_old_file_never_sees_half_of_the_new_one(tmp_path):
    path = files.write(tmp_path / "x.jsonl", [rows.Initial(id="a", initial="old")])
    with path.open("rb") as reading:
        files.write(path, [rows.Initial(id="a", initial="new")])
        assert reading.read() == b'{"id": "a", "initial": "old"}\n'


def test_two_fields_may_identify_a_row(tmp_path):
    found = [rows.ItemText(id="a", model="source", wording=w, text="t") for w in ("one", "two")]
    assert files.read(files.write(tmp_path / "x.jsonl", found), rows.ItemText) == found
    with pytest.raises(CompanionError, match=r"id\+wording a/one stands 2 times"):
        files.write(tmp_path / "y.jsonl", [found[0], found[0]])
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


def test_rows_that_read_back_differently_are_not_published(tmp_path, monkeypatch):
    path = files.write(tmp_path / "x.jsonl", [rows.Initial(id="a", initial="old")])
    monkeypatch.setattr(files, "read", lambda *_: [rows.Initial(id="a", initial="garbled by the disk")])
    with pytest.raises(CompanionError, match="differ from the rows written"):
        files.write(path, [rows.Initial(id="a", initial="new")])
    assert path.read_bytes() == b'{"id": "a", "initial": "old"}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused_as_such(value):
    with pytest.raises(ValueError, match="value"):
        rows.ItemScore(id="a", model="m", lens="choice", wording="w", value=value)


GOOD = json.dumps({"id": "a", "initial": "yes"})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (GOOD + "\n" + '{"id": "b", "ans', ":2: not one JSON object"),
        (GOOD + "\n" + '{"id": "b", "initial": "x", "extra": 1}', ":2: field extra"),
        ('{"id": "b", "initial": 3}', ":1: field initial"),
        ('{"id": "b"}', ":1: field initial"),
        (GOOD + "\\n" + GOOD, ":1: not one JSON object"),  # a literal backslash-n between two objects
        (GOOD + "\n" + GOOD, "id a stands 2 times"),
    ],
)
def test_a_malformed_file_is_refused_with_line_and_field(content, told, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CompanionError, match=r"x\.jsonl") as caught:
        files.read(path, rows.Initial)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_latin_1_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"id": "a", "initial": "Gr\xfc\xdfe"}')
    with pytest.raises(CompanionError, match="UTF-8"):
        files.read(tmp_path / "x.jsonl", rows.Initial)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = files.write(tmp_path / "x.jsonl", [rows.Initial(id="a", initial="old")])

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError):
        files.write(path, [rows.Initial(id="a", initial="new")])
    assert files.read(path, rows.Initial)[0].initial == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_field_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a", "initial": "yes", "initial": "no"}\n')
    with pytest.raises(
        CompanionError, match=r"answers\.jsonl:1: not one JSON object on the line \(field initial appears twice"
    ):
        files.read(path, rows.Initial)
