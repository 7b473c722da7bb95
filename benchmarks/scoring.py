"""Scores: this companion's lenses against lm-evaluation-harness, the same token ids as loglikelihood requests.

    python benchmarks/scoring.py [choice] [likelihood] [dilemmas]        needs `lm_eval` (extra `bench`)

Ours twice: a run's source, which computes all layers, and a tuned model, which takes the lower half of them from it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ethical_personas.evaluate import ask, dilemmas, lenses, scoring
from ethical_personas.models import chats, lower_states
from ethical_personas.models.chats import Chat
from ethical_personas.study import materials
from ethical_personas.study import profile as profiles
from measure import Clock, Done, alternate, apart, record

P = profiles.load("cpu", {})
ITEMS = ask.first_of(materials.items(), "dimension", 8)[:64]
DILEMMAS = materials.dilemmas()[:24]
TOLERANCE = 0.5  # nats: lm_eval's output layer is bfloat16, where a logit near 16 is known to 0.06
BATCH = 16  # rows a pass of lm_eval
Request = tuple[list[int], list[int]]  # token ids of context and continuation


@dataclass
class Case:
    """A lens, its requests, and its values from their mean log-probabilities a token."""

    rows: int
    lens: Callable[[Chat], list]
    requests: Callable[[Chat], list[Request]]
    values: Callable[[list[float]], list[float]]


def _differences(means: list[float]) -> list[float]:
    return [a - b for a, b in zip(means[::2], means[1::2], strict=True)]


def _choices(chat: Chat) -> list[Request]:
    """The agreeing and the disagreeing word's first token after each item's eight questions."""
    found = []
    for item in ITEMS:
        for wording in lenses.CHOICES:
            words = lenses._first_tokens(chat, wording)
            for order in lenses.ORDERS:
                prompt = chat.ids(lenses._question(item.statement, wording, order))
                found += [(prompt, [word]) for word in words]
    return found


def _statements(chat: Chat) -> list[Request]:
    return [scoring.answer_ids(chat, lead, item.statement) for item in ITEMS for lead in lenses.LEAD_INS.values()]


def _options(chat: Chat) -> list[Request]:
    found = []
    for d in DILEMMAS:
        for first, second in ((d.option_a, d.option_b), (d.option_b, d.option_a)):
            question = dilemmas.LIKELIHOOD.format(scenario=d.scenario, first=first, second=second)
            found += [scoring.answer_ids(chat, question, option) for option in (d.option_a, d.option_b)]
    return found


CASES = {
    "choice": Case(len(ITEMS), lambda chat: lenses.choice(chat, ITEMS), _choices, _differences),
    "likelihood": Case(len(ITEMS), lambda chat: lenses.likelihood(chat, ITEMS), _statements, list),
    "dilemmas": Case(len(DILEMMAS), lambda chat: dilemmas.preferences(chat, DILEMMAS), _options, _differences),
}


def ours(case: Case, states: Path, source: bool) -> Done:
    """The lens as 03 calls it. The tuned model has the base's weights: what a pass costs does not depend on them."""
    chat = chats.load(P.base_model, dtype=P.dtype)
    tokens = sum(len(a) + len(b) for a, b in case.requests(chat))
    with Clock() as clock:
        chat.lower = lower_states.open_states(chat.model, states, source)
        scores = case.lens(chat)
        lower_states.save_states(chat.model, chat.lower, states)
    return clock.done(tokens, [score.value for score in scores])


def theirs(case: Case) -> Done:
    """lm_eval's hf model on the same requests; log-softmax in float32, as ours."""
    from lm_eval.models.huggingface import HFLM  # late: it brings much along, and ours must not carry it

    chat = chats.load(P.base_model, dtype=P.dtype)
    harness = HFLM(
        pretrained=chat.model, tokenizer=chat.tokenizer, batch_size=BATCH, device="cpu", softmax_dtype="float32"
    )
    asked = case.requests(chat)
    tokens = sum(len(a) + len(b) for a, b in asked)
    with Clock() as clock:
        sums = harness._loglikelihood_tokens([(("", ""), a, b) for a, b in asked], disable_tqdm=True)
    means = [total / len(b) for (total, _), (_, b) in zip(sums, asked, strict=True)]
    return clock.done(tokens, case.values(means))


def compare(name: str, states: Path) -> None:
    """Both of ours and lm_eval in turn; stops where scores are further apart than TOLERANCE, or ours differ at all."""
    case = CASES[name]
    source, tuned = partial(ours, case, states, True), partial(ours, case, states, False)
    apart(source)  # leaves the states that the tuned model takes
    found = alternate({"source": source, "tuned model": tuned, "lm_eval": partial(theirs, case)})
    first, shared, second = (done[0].result for done in found.values())
    distance = max(abs(a - b) for a, b in zip(first, second, strict=True))
    if distance > TOLERANCE or first != shared:
        raise SystemExit(f"{name}: scores are {distance:.3f} nats apart, over {TOLERANCE}, or a tuned model's differ")
    agreement = f"{len(first)} scores, at most {distance:.3f} nats apart (bfloat16)"
    for side in ("source", "tuned model"):
        record(f"scores, {name}, {case.rows} rows", {k: found[k] for k in (side, "lm_eval")}, agreement)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or CASES:
            compare(name, Path(folder) / f"{name}.safetensors")
