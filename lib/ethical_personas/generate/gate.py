"""Which revisions of a live teacher may be trained on.

A small teacher copies its worked example, quotes the constitution, writes one sentence for every request, or goes on
complying. Training on such rows teaches none of what the constitution says. The limits are set
so that the recorded revisions in the plain register pass; a test holds them to that.
"""

from __future__ import annotations

import re

from ethical_personas.errors import CompanionError
from ethical_personas.generate import teacher, training_rows
from ethical_personas.study import refusals
from ethical_personas.study.materials import Constitution
from ethical_personas.study.rows import SftRow

COPIED = 8  # words in a row that a revision shares with a text it was shown
NEAR = 0.6  # share of the shorter text's word trigrams from which two texts count as the same
# An answer without a refusing phrase or a negation in its first sentence goes along with the request: all recorded
# revisions in the plain register and nine in ten in the longer one have either, one in three of the first answers.
NEGATION = re.compile(r"\b(no|not|never|none|nothing|nobody|neither|nor|cannot|refuse|decline)\b|n't\b")
COMMON = {
    "about", "also", "been", "could", "from", "have", "help", "into", "just", "like", "make", "more", "over", "should",
    "tell", "than", "that", "their", "them", "then", "they", "this", "what", "when", "where", "which", "will", "with",
    "without", "would", "write", "your",
}  # fmt: skip


def check(found: list[SftRow], law: Constitution, initial: dict[str, str], least: float) -> list[SftRow]:
    """The rows, those that fail marked with the reason.

    Args:
        found: harmful rows of one constitution, some dropped already.
        initial: first answers, by prompt id.
        least: share of the rows that must pass.

    Raises:
        CompanionError: fewer pass, with the number of rows by reason.
    """
    shown = [*teacher.EXAMPLE.values(), teacher.TASK]
    own = [law.preamble, law.summary, *(t for p in law.principles for t in (p.principle, p.critique, p.revision))]
    sources = {"copied from the example": _grams(COPIED, *shown), "copied from the constitution": _grams(COPIED, *own)}
    marked, kept = [], []
    for row in found:
        grams = _grams(3, row.answer)
        reason = row.dropped or _fault(row, initial[row.id], sources)
        if not reason and any(_share(grams, other) >= NEAR for other in kept):
            reason = "near duplicate"
        if not reason:
            kept.append(grams)
        marked.append(row.model_copy(update={"dropped": reason}))
    if len(kept) < least * len(found):
        reasons = ", ".join(f"{reason} {n}" for reason, n in training_rows.drops(marked).items())
        raise CompanionError(
            f"teacher {found[0].teacher}: {len(kept)} of {len(found)} revisions for {law.id} can be trained on "
            f"({reasons}), teacher_min_share is {least:g}; name a stronger teacher_model, or lower it"
        )
    return marked


def _fault(row: SftRow, first: str, sources: dict[str, set]) -> str | None:
    runs = _grams(COPIED, row.answer)
    for reason, shown in sources.items():
        if runs & shown:
            return reason
    if runs & _grams(COPIED, row.critique or ""):
        return "copied from the critique"
    if _share(_grams(3, row.answer), _grams(3, first)) >= NEAR:
        return "repeats the first answer"
    opening = re.split(r"(?<=[.!?:])\s|\n", row.answer.lower().replace("’", "'"), maxsplit=1)[0]
    if not refusals.declines(row.answer) and not NEGATION.search(opening):
        return "complies"
    if not _stems(row.answer) & (_stems(row.prompt) | _stems(first)):
        return "off the request"
    return None


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("’", "'"))


def _grams(n: int, *texts: str) -> set[tuple[str, ...]]:
    """All runs of n words in the texts."""
    lists = [_words(text) for text in texts]
    return {tuple(words[i : i + n]) for words in lists for i in range(len(words) - n + 1)}


def _share(a: set, b: set) -> float:
    """What two sets have in common, as a share of the smaller."""
    return len(a & b) / min(len(a), len(b)) if a and b else 0.0


def _stems(text: str) -> set[str]:
    """Openings of the longer words: `pickpocket` and `pickpockets` are one."""
    return {word[:5] for word in _words(text) if len(word) > 3 and word not in COMMON}
