"""The study's prompts, items and dilemmas as tasks of Inspect, for any model that Inspect reaches."""

from ethical_personas.errors import CompanionError

try:
    import inspect_ai  # noqa: F401
except ImportError:
    raise CompanionError(
        "inspect_ai is not installed, and no lock has it; docs/extending.md, section Inspect, says how to add it"
    ) from None
