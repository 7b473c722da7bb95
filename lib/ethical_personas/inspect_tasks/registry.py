"""The tasks as Inspect finds them by name (`inspect eval ethical_personas/safety`): pyproject.toml's entry point."""

from ethical_personas.inspect_tasks.dilemmas import dilemmas
from ethical_personas.inspect_tasks.persona import persona
from ethical_personas.inspect_tasks.safety import safety

__all__ = ["dilemmas", "persona", "safety"]
