"""The form of data/study.yaml: categories, kinds, scopes, constitutions, controls, lenses, dimensions and bars."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

SOURCE = "source"
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
ScopeName = Annotated[str, StringConstraints(pattern=r"^[a-z]+$")]  # stands between two hyphens in a model's name
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Labelled(_Strict):
    """A name that figures may show in other words."""

    label: str = ""


class Kind(Labelled):
    """A kind of harmless requests."""

    trained: bool = False
    paired: bool = False  # its prompts are twins of the harmful ones, with ids `<id>-twin`


class Scope(Labelled):
    """Which harm categories a model is trained on."""

    categories: Literal["all"] | list[str] = Field(min_length=1)
    held_out: str | None = None
    marker: Literal[*"os^v<>DdPphH8*"]  # matplotlib's; X is the source's
    rows: int | None = Field(None, ge=1)


class Arm(Labelled):
    """What one series of models is trained towards."""

    colour: Colour


class Constitution(Arm):
    """A constitution; all are compared with the reference ones."""

    reference: bool = False
    contrast: tuple[str, str] | None = None  # dimensions: of which its models should agree with the first more


class Control(Arm):
    """An arm without principles: what answers its harmful requests, in a constitution's place."""

    answers: Literal["variants", "shuffled", "none"]


class Lens(Labelled):
    """One way to measure beliefs, and the file of 03 that it is read from."""

    unit: str = ""
    rows: Literal["item_scores", "item_texts", "pair_scores", "responses"]

    def title(self, name: str) -> str:
        """Name and unit, as a figure's title."""
        return (self.label or name) + (f"\n({self.unit})" if self.unit else "")


Share = Annotated[float, Field(ge=0, le=1)]


class Bars(_Strict):
    """Sizes set beforehand for what safety may cost and how far it should reach."""

    declined: dict[str, Share] = {}  # of each harmless kind, at most
    one_sentence: Share  # more answers in one sentence than the source gives, at most
    off_topic: dict[str, Share] = {}  # gain of each narrow scope's models off their topic, at least


class Study(_Strict):
    """All lists of names in the study."""

    categories: dict[Name, Labelled] = Field(min_length=1)
    kinds: dict[Name, Kind] = Field(min_length=1)
    scopes: dict[ScopeName, Scope]
    constitutions: dict[Name, Constitution] = Field(min_length=1)
    controls: dict[Name, Control] = {}
    lenses: dict[Name, Lens]
    dimensions: dict[Name, str] = Field(min_length=1)
    bars: Bars

    @field_validator("kinds")
    @classmethod
    def _are_no_categories(cls, kinds: dict, info: ValidationInfo) -> dict:
        both = [name for name in kinds if name in {*info.data.get("categories", {}), "harmful"}]
        if both:
            raise ValueError(f"{both[0]} is a harm category too; give the kind another name")
        if sum(kind.paired for kind in kinds.values()) != 1:
            raise ValueError("one kind, and no other, is paired")
        if not any(kind.trained for kind in kinds.values()):
            raise ValueError("no kind is trained; the first that is stands in for harmful rows too")
        return kinds

    @field_validator("scopes")
    @classmethod
    def _scopes_are_of_these_categories(cls, scopes: dict, info: ValidationInfo) -> dict:
        known = info.data.get("categories", {})
        if sum(s.categories == "all" for s in scopes.values()) != 1:
            raise ValueError("one scope, and no other, has categories: all")
        for name, scope in scopes.items():
            if name == SOURCE:
                raise ValueError(f"{SOURCE} is the untuned model; give the scope another name")
            if scope.categories == "all":
                continue
            if scope.held_out is None:
                raise ValueError(f"{name}: held_out is missing: the category that this scope is tested on")
            for category in (*scope.categories, scope.held_out):
                if category not in known:
                    raise ValueError(f"{name}: {category} is not among the categories")
            if scope.held_out in scope.categories:
                raise ValueError(f"{name}: {scope.held_out} is trained on and held out; it can be one of the two")
        return scopes

    @field_validator("bars")
    @classmethod
    def _bars_are_of_these_kinds_and_scopes(cls, bars: Bars, info: ValidationInfo) -> Bars:
        narrow = {name for name, scope in info.data.get("scopes", {}).items() if scope.held_out}
        for what, names, known in (
            ("kinds", bars.declined, set(info.data.get("kinds", {}))),
            ("narrow scopes", bars.off_topic, narrow),
        ):
            for name in set(names) - known:
                raise ValueError(f"{name} is not among the {what}")
        return bars

    @field_validator("dimensions")
    @classmethod
    def _contrasts_are_of_these_dimensions(cls, dimensions: dict, info: ValidationInfo) -> dict:
        found = {name: c for name, c in info.data.get("constitutions", {}).items() if c.contrast}
        if len(found) > 1:
            raise ValueError(f"{' and '.join(found)} have a contrast; C4 is about one of them")
        for name, constitution in found.items():
            for dimension in set(constitution.contrast or ()) - set(dimensions):
                raise ValueError(f"{dimension} is not among them, and the contrast of {name} names it")
        return dimensions

    @field_validator("constitutions", "controls")
    @classmethod
    def _arms_have_names_of_their_own(cls, arms: dict, info: ValidationInfo) -> dict:
        both = [name for name in arms if name in {*info.data.get("constitutions", {}), SOURCE}]
        if both:
            raise ValueError(f"{both[0]} names another series of models; choose another name")
        return arms
