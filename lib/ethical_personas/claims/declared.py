"""The claims as data/claims.yaml declares them: what each says, how it is tested, what counts as what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ethical_personas import stats
from ethical_personas.claims import arms, constitutions, evidence
from ethical_personas.files import validated
from ethical_personas.paths import ROOT
from ethical_personas.study import grid, inputs

TESTS = evidence.TESTS | constitutions.TESTS | arms.TESTS
COUNTED = evidence.COUNTED | constitutions.COUNTED | arms.COUNTED  # what the units of each test are


class Paper(BaseModel):
    """The grid that the claims speak of: whatever lies beyond it is measured and decides nothing."""

    model_config = ConfigDict(extra="forbid")
    constitutions: list[str] = Field(min_length=1)
    scopes: list[Literal[tuple(grid.SCOPES)]] = Field(min_length=1)

    @property
    def narrow_models(self) -> int:
        """Number of narrow models, with one seed each."""
        return len(self.constitutions) * len(set(self.scopes) & set(grid.NARROW))


class Claim(BaseModel):
    """One claim, or part of one, as a test with its family, threshold and meaning of each verdict."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(pattern=r"^C\d+[a-z]?$")
    says: str = Field(min_length=1)
    test: Literal[tuple(TESTS)]
    rule: Literal["all", "any"]
    # trainings: over scopes and seeds (stats.trainings); scopes: with the seeds of a scope averaged; pair: by the two
    # that are compared alone
    error: Literal["items", "trainings", "scopes", "pair"] = "items"
    measures: list[str] = Field(min_length=1)
    margin: float = Field(ge=0)
    tolerated: float = Field(0.0, ge=0)  # a loss of this size passes, and only a larger one counts against the claim
    unit: str
    supported: str
    not_supported: str
    inconclusive: str
    categories: Literal["all", "ood", "held_out"] = "all"
    prompts: Literal["all", "seen", "unseen"] = "all"  # of registers that training has, or (unseen) never saw
    lens: str = "choice"
    also: list[str] = []  # lenses shown beside, which decide nothing
    constitution: str = ""
    control: Literal["", *grid.CONTROLS] = ""  # the arm that the constitutions are set against
    reader_kappa: float = Field(
        0.0, ge=0, le=1
    )  # agreement with labels below which the reader of replies decides nothing


class Declarations(BaseModel):
    """The whole of data/claims.yaml."""

    model_config = ConfigDict(extra="forbid")
    power: float
    paper: Paper
    claims: list[Claim]

    @field_validator("power")
    @classmethod
    def _power_of_the_tables(cls, power):
        if power != stats.POWER:
            raise ValueError(f"{stats.POWER} is what the tables are computed for")
        return power

    @field_validator("claims")
    @classmethod
    def _trainings_where_they_are_known(cls, claims):
        for claim in claims:
            if claim.error != "items" and claim.test in evidence.TESTS:
                raise ValueError(f"{claim.id}: test {claim.test} has the error `items` alone")
            if claim.error == "pair" and claim.test in constitutions.OMNIBUS:
                raise ValueError(f"{claim.id}: test {claim.test} compares more than two; its error is not `pair`")
        return claims

    @field_validator("claims")
    @classmethod
    def _ids_once(cls, claims):
        ids = [c.id for c in claims]
        if len(set(ids)) < len(ids):
            raise ValueError(f"an id appears twice in {ids}; give each claim its own")
        return claims


def paper() -> Paper:
    """The grid that the claims speak of; raises CompanionError naming file and field."""
    return validated(Declarations, ROOT / inputs.CLAIMS).paper


def declared(path: Path | None = None) -> list[Claim]:
    """The claims as declared; raises CompanionError naming file and field."""
    return validated(Declarations, path or ROOT / inputs.CLAIMS).claims
