"""What a run is called: its profile, or a name of its own where a parameter differs from the profile."""

from __future__ import annotations

import hashlib
import json
import re

from ethical_personas.errors import CompanionError
from ethical_personas.study import profile as profiles
from ethical_personas.study.profile import Profile

ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
TAKEN = ("cache", "models", "scratch", "sets")  # other folders of runs/
LONGEST = 60  # characters of a made name
# Parameters that decide which models there are.
GRID = {"constitutions", "controls", "scopes", "seeds", "dose_cells", "dose_steps"}


def changed(profile: str, chosen: Profile) -> dict:
    """Parameters of `chosen` that differ from the profile's."""
    plain = profiles.load(profile)
    return {k: v for k, v in chosen.model_dump().items() if v != getattr(plain, k)}


def run_name(profile: str, chosen: Profile, given: str | None = None) -> str:
    """The name of a run: runs/<name> and figures/<name> are its own.

    Args:
        profile: the profile's name.
        chosen: its parameters, overrides applied.
        given: a name of the user's choice.

    Returns:
        `profile` when nothing differs from it, else the given name, else one made from what differs:
        `cpu-judge-keyword`; a long or unprintable value is cut and a hash added.

    Raises:
        CompanionError: the given name cannot be a folder's, or belongs to something else.
    """
    different = changed(profile, chosen)
    if given is None:
        return _made(profile, different) if different else profile
    if not ALLOWED.fullmatch(given) or given.endswith("."):
        raise CompanionError(
            f"--name {given!r}: letters, digits and . _ + - only, a letter or digit first, 80 characters at most"
        )
    taken = {name.lower(): name for name in (*TAKEN, *profiles.names())}
    if given.lower() in taken and not (given == profile and not different):
        raise CompanionError(f"--name {given!r} is taken by the {_owner(taken[given.lower()])}; choose another")
    return given


def _owner(name: str) -> str:
    return f"folder runs/{name}" if name in TAKEN else f"profile {name}, whose run must not change"


def _made(profile: str, different: dict) -> str:
    shown = {k: "+".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in different.items()}
    whole = "-".join([profile, *(f"{k}-{v}" for k, v in shown.items())])
    # A hyphen could be the next parameter's, and some file systems know no capitals.
    if all(re.fullmatch(r"[a-z0-9._+]+", v) for v in shown.values()) and len(whole) <= LONGEST:
        return whole
    mark = hashlib.sha256(json.dumps(different, sort_keys=True).encode()).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9._+-]+', '_', whole)[: LONGEST - 7].rstrip('._-')}-{mark}"
