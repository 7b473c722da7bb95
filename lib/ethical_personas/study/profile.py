"""Profiles: the YAML files of papermill parameters, checked before anything runs.

profile = load("cpu", {"learning_rate": "2e-4"})
"""

from __future__ import annotations

import contextlib
import difflib
import re
import typing
from collections.abc import Mapping
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.paths import ROOT
from ethical_personas.study import grid, materials

PROFILES = ROOT / "profiles"
NOTEBOOKS = ("01_generate", "02_finetune", "03_evaluate", "04_emergent_alignment", "05_persona", "06_projectability")
# Parameters that name one job or one place; the graph fills them in, a profile may not.
JOB_PARAMETERS = {"constitution", "beside", "scope", "seed", "model", "profile", "run_dir", "figures_dir"}


SOURCE_DATA = re.compile(r"bundled|hf:[^/@\s]+/[^/@\s]+@[^/@\s]+|(?!hf:).+\.(jsonl|json|csv)")


def _a_number(value):
    if isinstance(value, bool):
        raise ValueError("a number is expected; YAML reads yes, no, on and off as true and false")
    return value


Whole = Annotated[int, BeforeValidator(_a_number), Field(ge=0)]
Count = Annotated[int, BeforeValidator(_a_number), Field(ge=1)]
Teacher = Literal["bundled", "local", "api"]
Positive = Annotated[float, BeforeValidator(_a_number), Field(gt=0)]


class Profile(BaseModel):
    """Every parameter of the study; see profiles/cpu.yaml for what each one means."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    constitutions: list[str] = Field(min_length=1)
    controls: list[str]
    scopes: list[Literal[tuple(grid.SCOPES)]] = Field(min_length=1)
    seeds: list[Annotated[Whole, Field(lt=2**32)]] = Field(min_length=1)

    base_model: str = Field(pattern=r"^(wheel|hf|path):.+")
    chat_template: Literal["own", "chatml", "alpaca"]
    system_prompt: str
    dtype: Literal["auto", "float32", "bfloat16"]
    threads: Whole
    trust_remote_code: bool

    source_stage: Literal["none", "sft"]
    source_data: str

    teacher: Teacher | dict[str, Teacher]
    teacher_model: str
    teacher_url: str
    teacher_min_share: float = Field(ge=0, le=1)
    revision_style: Literal["plain", "rich"]
    harmless_targets: Literal["source", "written"]
    answer_tokens: Count
    live_rounds: Whole
    rows_per_scope: Count
    helpful_rows: Whole
    contrast_rows: Whole
    opinion_rows: Whole

    lora_r: Count
    lora_alpha: Count
    lora_layers: Literal["all", "upper"]
    learning_rate: Positive
    epochs: Positive
    batch_size: Count
    gradient_accumulation: Count
    warmup_steps: Whole
    max_length: Count
    opening_weight: float = Field(ge=1)
    dose_cells: list[str]
    dose_steps: list[Count]

    eval_per_category: Whole
    max_new_tokens: Count
    repetition_penalty: Positive
    decode_batch: Count
    item_limit: Whole
    item_text_wordings: Annotated[int, BeforeValidator(_a_number), Field(ge=1, le=4)]  # lenses.QUESTIONS
    item_text_tokens: Count
    persona_evals: str
    persona_evals_limit: Whole
    moral_choice: str
    eval_sets: list[str]
    responses_url: str

    judge: Literal["bundled", "keyword", "hf", "api"]
    judge_model: str
    judge_url: str

    bootstrap: Count
    alpha: float = Field(gt=0, lt=1)
    ladder: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]]

    @property
    def live(self) -> dict[str, str]:
        """The run's constitutions that a live teacher writes for, with that teacher."""
        found = {c: teacher_of(self.teacher, c) for c in self.constitutions}
        return {c: kind for c, kind in found.items() if kind != "bundled"}

    def to_record(self) -> dict:
        """The parameters as a record keeps them, without those of a stage or figure that is left out."""
        idle = {"source_stage", "source_data"} if self.source_stage == "none" else set()
        return self.model_dump(exclude=idle | (set() if self.ladder else {"ladder"}))


def teacher_of(teacher: str | Mapping[str, str], constitution: str) -> str:
    """A constitution's teacher. `teacher` is one for all, or names some; others have its `default`, else bundled."""
    if isinstance(teacher, str):
        return teacher
    return teacher.get(constitution, teacher.get("default", "bundled"))


def load(name: str, overrides: dict[str, str] | None = None) -> Profile:
    """Read profiles/<name>.yaml and apply overrides.

    Args:
        overrides: values as typed: a text parameter's as it stands, any other's read as YAML.

    Raises:
        CompanionError: names the profile or parameter, what is wrong, and the nearest name.
    """
    path, known = PROFILES / f"{name}.yaml", names()
    if name not in known:
        raise CompanionError(f"profile {name!r} unknown: {_choices(name, known)}")
    values = files.read_yaml(path)
    if not isinstance(values, dict):
        raise CompanionError(f"{path}: a mapping of parameters is expected, one `name: value` a line")
    for key, text in (overrides or {}).items():
        if key in JOB_PARAMETERS:
            raise CompanionError(f"parameter {key!r} belongs to one job; set constitutions, controls, scopes or seeds")
        if key not in Profile.model_fields:
            raise CompanionError(f"parameter {key!r} unknown: {_choices(key, Profile.model_fields)}")
        values[key] = _typed(key, text)
    return check(values, str(path))


def check(values: dict, where: str = "parameters") -> Profile:
    """Validate a full set of parameters; raises CompanionError."""
    try:
        profile = Profile.model_validate({k: _number(k, v) for k, v in values.items()})
    except ValidationError as error:
        raise CompanionError(f"{where}: {_first(error, values)}") from None
    if profile.responses_url and profile.repetition_penalty != 1:
        raise CompanionError(
            f"{where}: field repetition_penalty: with a responses_url it is 1: servers count it otherwise"
        )
    if not SOURCE_DATA.fullmatch(profile.source_data):
        raise CompanionError(
            f"{where}: field source_data: bundled, hf:<owner>/<data set>@<revision> or a file .jsonl, .json or .csv "
            f"(found {profile.source_data!r})"
        )
    for name in profile.constitutions:
        materials.constitution(name)
    for name in [] if isinstance(profile.teacher, str) else profile.teacher:
        if name not in (known := ["default", *materials.constitution_names()]):
            raise CompanionError(f"{where}: field teacher: {name!r} unknown: {_choices(name, known)}")
    if len(kinds := sorted(set(profile.live.values()))) > 1:
        raise CompanionError(f"{where}: field teacher: {kinds} in one run share teacher_model; choose one of them")
    for name in profile.controls:
        if name not in grid.CONTROLS:
            raise CompanionError(f"{where}: field controls: {name!r} unknown: {_choices(name, grid.CONTROLS)}")
    for name in [
        *profile.dose_cells,
        *(c.name for c in grid.cells(profile.constitutions, profile.scopes, profile.seeds, profile.controls)),
    ]:
        known = [*materials.constitution_names(), *grid.CONTROLS]
        if (cell := grid.Cell.parse(name)).constitution not in known:
            raise CompanionError(f"{where}: cell {name!r}: constitution {_choices(cell.constitution, known)}")
    for field in ("constitutions", "controls", "scopes", "seeds", "dose_cells", "dose_steps", "eval_sets", "ladder"):
        listed = getattr(profile, field)
        if len(set(listed)) < len(listed):
            raise CompanionError(f"{where}: field {field}: an entry appears twice in {listed}; list each once")
    return profile


def names() -> list[str]:
    """All profiles; a hidden file, such as macOS leaves beside a copied one, is none."""
    return sorted(p.stem for p in PROFILES.glob("[!.]*.yaml"))


def _typed(field: str, text: str):
    """A value of the command line, by its field's type: `No`, `a: b` and `#1` are text where text is wanted."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CompanionError(f"parameter {field}: {text!r} is not UTF-8; type it in a UTF-8 terminal") from None
    kind = Profile.model_fields[field].annotation
    inner = typing.get_args(kind)
    if kind is str or typing.get_origin(kind) is Literal or not text:
        return text
    listed = typing.get_origin(kind) is list and (inner[0] is str or typing.get_origin(inner[0]) is Literal)
    textual = listed or field == "teacher"  # a constitution may be called `no`
    try:
        return yaml.load(text, yaml.BaseLoader if textual else yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError):  # PyYAML's too
        raise CompanionError(f"parameter {field}: {text!r} is not a YAML value; quote it?") from None


def _number(field: str, value):
    """YAML 1.1 reads `2e-4` as text; where the field is a number, a number is meant."""
    if (
        isinstance(value, str)
        and field in Profile.model_fields
        and Profile.model_fields[field].annotation in (int, float)
    ):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def _first(error: ValidationError, values: dict) -> str:
    first = error.errors()[0]
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return f"parameter {field!r} unknown: {_choices(field, Profile.model_fields)}"
    try:
        found = repr(values.get(field))[:200]
    except ValueError:  # a whole number of thousands of digits
        found = "a number too long to show"
    return f"field {field}: {first['msg']} (found {found})"


def _choices(word: str, known) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
