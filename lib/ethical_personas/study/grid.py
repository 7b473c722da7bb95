"""What is studied: the lists of data/study.yaml, and the grid: constitutions x scopes x seeds, controls, source.

Cell.parse("virtue-harassment-s0").held_out  ->  "chemical_biological"
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from ethical_personas.errors import CompanionError
from ethical_personas.files import validated
from ethical_personas.paths import DATA
from ethical_personas.study.lists import SOURCE, Study

STUDY = validated(Study, DATA / "study.yaml")
CATEGORIES = tuple(STUDY.categories)
HARMLESS = tuple(STUDY.kinds)
TRAINED = tuple(name for name, kind in STUDY.kinds.items() if kind.trained)  # harmless kinds with rows of their own
PAIRED = next(name for name, kind in STUDY.kinds.items() if kind.paired)  # comes into training with the harmful rows
CONSTITUTIONS = tuple(STUDY.constitutions)
# All constitutions are compared with these, so that another one moves none of their numbers.
REFERENCE = tuple(name for name, c in STUDY.constitutions.items() if c.reference)
CONTROLS = tuple(STUDY.controls)
# Two dimensions of some constitutions: their models should agree more with the first.
CONTRASTS = {name: c.contrast for name, c in STUDY.constitutions.items() if c.contrast}

# Harm categories whose rows enter training, by scope; BROAD is the scope of all of them.
SCOPES = {name: CATEGORIES if s.categories == "all" else tuple(s.categories) for name, s in STUDY.scopes.items()}
BROAD = next(name for name, s in STUDY.scopes.items() if s.categories == "all")
# The category that the paper filters out of each narrow set and tests on.
HELD_OUT = {name: s.held_out for name, s in STUDY.scopes.items() if name != BROAD}
NARROW = tuple(HELD_OUT)

MEAN = "(mean)"  # stands for a constitution where constitutions are averaged; no constitution can have this name

ITEM_LENSES = tuple(name for name, lens in STUDY.lenses.items() if lens.rows != "responses")
SCORED_LENSES = tuple(name for name, lens in STUDY.lenses.items() if lens.rows == "item_scores")


@dataclass(frozen=True, order=True)
class Cell:
    """One tuned model: a constitution or a control, a training scope, a seed."""

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
                f"model {name!r} is not a cell: write 'source' or <constitution or control>-<scope>-s<seed>, "
                f"scope one of {', '.join(SCOPES)}, e.g. virtue-broad-s0"
            )
        return cls(match[1], match[2], int(match[3]))


def parse_model(model: str) -> dict:
    """Constitution, scope and seed of a model's name, `<cell>` or `<cell>@<step>`; the source is its own."""
    if model == SOURCE:
        return {"constitution": SOURCE, "scope": SOURCE, "seed": 0}
    cell = Cell.parse(model.partition("@")[0])
    return {"constitution": cell.constitution, "scope": cell.scope, "seed": cell.seed}


def compared(constitutions) -> list[str]:
    """Those of `constitutions` that all are compared with: the reference ones, or all where fewer than two are.

    The source and the controls never are.
    """
    names = [name for name in dict.fromkeys(constitutions) if name not in (SOURCE, *CONTROLS)]
    reference = [name for name in names if name in REFERENCE]
    return reference if len(reference) > 1 else names


def ordered(names, first=CONSTITUTIONS) -> list[str]:
    """Each name once: those of `first` in its order, then the others by name, then the controls in theirs."""
    names = set(names)
    others = sorted(names.difference(first, CONTROLS))
    return [n for n in first if n in names] + others + [n for n in CONTROLS if n in names.difference(first)]


def kind(category: str) -> str:
    """`harmful` for a harm category; each kind of harmless prompts is its own."""
    return category if category in HARMLESS else "harmful"


def cells(constitutions, scopes, seeds, controls=()) -> list[Cell]:
    """All cells of a run, in the order constitution, scope, seed; then those of the controls.

    A control without harmful rows is of one scope alone: the broad one, or the first where the run lacks it.
    """
    once = [BROAD if BROAD in scopes else scopes[0]] if scopes else []
    found = [Cell(*c) for c in itertools.product(constitutions, scopes, seeds)]
    for name in [c for c in CONTROLS if c in controls]:
        found += [Cell(name, *c) for c in itertools.product(scopes if refuses(name) else once, seeds)]
    return found


def refuses(name: str) -> bool:
    """Whether a constitution's or control's training set has harmful rows."""
    return name not in STUDY.controls or STUDY.controls[name].answers != "none"
