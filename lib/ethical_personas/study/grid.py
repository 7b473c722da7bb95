"""The experimental grid: constitutions x scopes x seeds, plus the untuned source.

Cell.parse("virtue-harassment-s0").held_out  ->  "chemical_biological"
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from ethical_personas.errors import CompanionError

SOURCE = "source"
CONSTITUTIONS = ("deontology", "consequentialism", "virtue", "subordinate")
CATEGORIES = (
    "chemical_biological",
    "cybercrime_intrusion",
    "harassment_bullying",
    "harmful",
    "illegal",
    "misinformation_disinformation",
)
HARMLESS = ("helpful", "contrast")

# Harm categories whose rows enter training, by scope.
SCOPES = {
    "broad": CATEGORIES,
    "harassment": ("harassment_bullying",),
    "illegal": ("illegal",),
}
# The category that the paper filters out of each narrow set and tests on.
HELD_OUT = {"harassment": "chemical_biological", "illegal": "misinformation_disinformation"}
NARROW = tuple(HELD_OUT)


@dataclass(frozen=True, order=True)
class Cell:
    """One tuned model: a constitution, a training scope, a seed."""

    constitution: str
    scope: str
    seed: int = 0

    @property
    def name(self) -> str:
        """File-system name, e.g. ``deontology-harassment-s0``."""
        return f"{self.constitution}-{self.scope}-s{self.seed}"

    @property
    def categories(self) -> tuple[str, ...]:
        """Harm categories present in the training rows."""
        return SCOPES[self.scope]

    @property
    def ood(self) -> tuple[str, ...]:
        """Harm categories absent from the training rows (empty for broad)."""
        return tuple(c for c in CATEGORIES if c not in self.categories)

    @property
    def held_out(self) -> str | None:
        """The paper's held-out category of a narrow scope, else None."""
        return HELD_OUT.get(self.scope)

    @classmethod
    def parse(cls, name: str) -> Cell:
        """Read a cell name; raises CompanionError when it is not one."""
        match = re.fullmatch(r"([a-z0-9_]+)-([a-z]+)-s(\d+)", name)
        if not match or match[1] == SOURCE or match[2] not in SCOPES:
            raise CompanionError(
                f"model {name!r} is not a cell: write 'source' or <constitution>-<scope>-s<seed>, "
                f"scope one of {', '.join(SCOPES)}, e.g. virtue-broad-s0"
            )
        return cls(match[1], match[2], int(match[3]))


def about(model: str) -> dict:
    """Constitution, scope and seed of a model's name, `<cell>` or `<cell>@<step>`; the source is its own."""
    if model == SOURCE:
        return {"constitution": SOURCE, "scope": SOURCE, "seed": 0}
    cell = Cell.parse(model.partition("@")[0])
    return {"constitution": cell.constitution, "scope": cell.scope, "seed": cell.seed}


def kind(category: str) -> str:
    """`harmful` for a harm category; `helpful` and `contrast` are kinds of their own."""
    return category if category in HARMLESS else "harmful"


def cells(constitutions, scopes, seeds) -> list[Cell]:
    """All cells of a grid, in the order constitution, scope, seed."""
    return [Cell(*c) for c in itertools.product(constitutions, scopes, seeds)]
