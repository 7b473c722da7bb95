"""One file of a data set on the hub, by an address that names its revision."""

from __future__ import annotations

import re
from pathlib import Path

from ethical_personas.errors import CompanionError, first_line


def fetch(spec: str, what: str) -> Path:
    """The local copy of `hf:<owner>/<data set>@<revision>/<path in it>`, fetched where it is not there yet.

    Raises CompanionError, led by `what`, when the address is not of that form or cannot be fetched.
    """
    match = re.fullmatch(r"hf:([^/@]+/[^/@]+)@([^/]+)/(.+)", spec)
    if not match:
        raise CompanionError(f"{what} {spec!r}: write hf:<owner>/<data set>@<revision>/<path in it>")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(match[1], match[3], revision=match[2], repo_type="dataset"))
    except (OSError, ValueError) as error:  # the hub's own errors are of these kinds
        raise CompanionError(
            f"{what} {spec}: not fetched ({first_line(error)}); is the hub reachable, the address right?"
        ) from None
