"""Check by hand: a blinded queue of responses, the reader's own marks, and agreement with the judge.

    widget(responses, judgements)      # in notebook 04: buttons declined / complied / unclear

The reader sees request and response only, in a random order drawn from `seed`: no model, category or verdict.
"""

from __future__ import annotations

import html
import random
from dataclasses import dataclass, field

from ethical_personas.errors import CompanionError
from ethical_personas.judge.calibration import kappa_of
from ethical_personas.study import rows

MARKS = ("declined", "complied", "unclear")


@dataclass
class Queue:
    """Responses waiting for a mark, and the marks given so far."""

    responses: list[rows.Response]
    judgements: list[rows.Judgement]
    seed: int = 0
    limit: int = 50
    marks: dict[int, str] = field(default_factory=dict)
    order: list[int] = field(init=False)

    def __post_init__(self):
        if [(r.id, r.model) for r in self.responses] != [(j.id, j.model) for j in self.judgements]:
            raise CompanionError("check by hand: judgements are not those of these responses, in the same order")
        readable = [i for i, r in enumerate(self.responses) if r.response.strip()]
        random.Random(self.seed).shuffle(readable)
        self.order = readable[: self.limit]

    @property
    def done(self) -> bool:
        """Whether every queued response has a mark."""
        return len(self.marks) == len(self.order)

    def current(self) -> tuple[str, str] | None:
        """(request, response) to mark next, or None at the end."""
        if self.done:
            return None
        response = self.responses[self.order[len(self.marks)]]
        return response.prompt, response.response

    def mark(self, verdict: str) -> None:
        """Record the reader's mark of the current response and move on; raises CompanionError for another word."""
        if verdict not in MARKS:
            raise CompanionError(f"check by hand: mark {verdict!r} unknown: choose {', '.join(MARKS)}")
        if not self.done:
            self.marks[self.order[len(self.marks)]] = verdict

    def undo(self) -> None:
        """Take the last mark back."""
        if self.marks:
            self.marks.popitem()

    def agreement(self) -> dict:
        """n compared, agreement and kappa with the judge; unclear marks and rows without verdict are counted apart."""
        pairs = [(mark, self.judgements[i].verdict) for i, mark in self.marks.items()]
        clear = [(a, b) for a, b in pairs if a != "unclear" and b is not None]
        mine, judges = [a for a, _ in clear], [b for _, b in clear]
        kappa = kappa_of(mine, judges) if len(set(mine) | set(judges)) > 1 else float("nan")
        return {
            "n": len(clear),
            "agreement": sum(a == b for a, b in clear) / len(clear) if clear else float("nan"),
            "kappa": kappa,
            "unclear": sum(a == "unclear" for a, _ in pairs),
            "no_verdict": sum(b is None for _, b in pairs),
        }

    def differences(self) -> list[tuple[str, str, str, str]]:
        """(request, response, the reader's mark, the judge's verdict) where the two differ."""
        found: list[tuple[str, str, str, str]] = []
        for i, mark in self.marks.items():
            verdict = self.judgements[i].verdict
            if mark != "unclear" and verdict and verdict != mark:
                found.append((self.responses[i].prompt, self.responses[i].response, mark, verdict))
        return found

    def summary(self) -> str:
        """One line: progress, agreement, kappa."""
        a = self.agreement()
        kappa = "undefined so far" if a["kappa"] != a["kappa"] else f"{a['kappa']:.2f}"
        share = "" if not a["n"] else f"; agreement with the judge {a['agreement']:.0%} (n = {a['n']}), kappa {kappa}"
        return f"{len(self.marks)} of {len(self.order)} marked{share}; {a['unclear']} unclear"


def widget(responses: list[rows.Response], judgements: list[rows.Judgement], seed: int = 0, limit: int = 50):
    """An ipywidgets box over a Queue, reachable as `.queue`. Agreement is shown from the tenth mark on."""
    import ipywidgets

    queue = Queue(responses, judgements, seed, limit)
    text, line = ipywidgets.HTML(), ipywidgets.HTML()
    buttons = [ipywidgets.Button(description=m) for m in (*MARKS, "undo")]

    def show() -> None:
        item = queue.current()
        body = "".join(
            f"<p><b>{name}</b><br>{html.escape(part)}</p>"
            for name, part in zip(("Request", "Response"), item or (), strict=False)
        )
        text.value = (
            body or "<p>All marked. <code>box.queue.differences()</code> lists where you and the judge differ.</p>"
        )
        early = len(queue.marks) < min(10, len(queue.order))
        line.value = f"{len(queue.marks)} of {len(queue.order)} marked" if early else queue.summary()

    def press(button) -> None:
        if button.description == "undo":
            queue.undo()
        else:
            queue.mark(button.description)
        show()

    for button in buttons:
        button.on_click(press)
    show()
    box = ipywidgets.VBox([text, ipywidgets.HBox(buttons), line])
    box.queue = queue
    return box
