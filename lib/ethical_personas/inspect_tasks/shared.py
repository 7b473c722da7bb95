"""What the tasks share: lists given on the command line, samples as a task, estimates as Inspect's metrics."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Metric, SampleScore, Scorer
from inspect_ai.solver import generate

from ethical_personas import stats
from ethical_personas.errors import CompanionError


def select_names(parameter: str, given: str | list[str], known: Iterable[str]) -> list[str]:
    """Names given to a parameter, all of `known` where none is; raises CompanionError for another name."""
    # Inspect hands `-T kinds=harmful,twin` over as a list, and `-T kinds=twin` as a string.
    names, known = given.split(",") if isinstance(given, str) else given, list(known)
    names = [name.strip() for name in names if name.strip()]
    wrong = [name for name in names if name not in known]
    if wrong:
        raise CompanionError(f"parameter {parameter}: {wrong[0]!r} unknown: choose among {', '.join(known)}")
    return names or known


def task_of(
    name: str, samples: list[Sample], scorer: Scorer, max_tokens: int, metrics: list[Metric] | None = None
) -> Task:
    """A task that asks each sample once, as a conversation of its own without a system prompt."""
    dataset = MemoryDataset(samples, name=name)
    config = GenerateConfig(max_tokens=max_tokens)
    return Task(dataset=dataset, solver=generate(), scorer=scorer, metrics=metrics, config=config)


def estimated(name: str, values, sign=None, pseudo: tuple[float, float] | None = None) -> dict[str, float]:
    """Metrics `name` and `name_stderr` of `stats.linear`; what is undefined is left out."""
    if not len(values):
        return {}
    fit = stats.linear(values, sign, pseudo)
    error = np.sqrt(sum(variance for variance, _ in fit.parts))
    found = {name: fit.estimate, f"{name}_stderr": float(error)}
    return {key: value for key, value in found.items() if not np.isnan(value)}


def about(score: SampleScore) -> dict:
    """A sample's metadata."""
    return score.sample_metadata or {}
