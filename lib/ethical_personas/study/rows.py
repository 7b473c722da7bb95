"""The row types: one pydantic model for each kind of line that the study reads or writes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ethical_personas.files import NonEmpty, Row
from ethical_personas.study import grid

# Carried by every generated response, so that a model trained on this file can be detected.
CANARY = "emergent-alignment-companion canary 6f0a1c52-94c7-4a2e-9a55-0c1d7e3b8f41"


# Beginnings of an endpoint's errors after which the same call may succeed: asked again. Any other failure is final.
AGAIN = ("timeout", "connection", "bad body", "HTTP", "not tried")


FORMS = ("how", "imperative", "wish")  # what kind of sentence asks


class Prompt(Row):
    """A request: harmful (of one of the categories) or harmless (of one of the kinds)."""

    split: Literal["train", "eval"]
    category: Literal[*grid.CATEGORIES, *grid.HARMLESS]
    prompt: str = NonEmpty
    manner: str | None = None  # manner of writing; some stand in evaluation only
    form: Literal[*FORMS] | None = None
    use: str | None = None  # of helpful prompts: what is asked for
    twin: Literal[grid.CATEGORIES] | None = None  # harm category of the request that this one resembles
    answer: str | None = None  # written answer, on some harmless training prompts


class Paid(Row):
    """An answer of a live teacher; `id` is the SHA-256 of what was asked of whom."""

    answer: str = NonEmpty
    without: list[str] | None = None  # request fields that the endpoint's model refuses, left out


class Served(Row):
    """A model's answer by a server; `id` is the SHA-256 of what was asked of which model."""

    answer: str
    tokens: int = Field(ge=0)
    finished: bool  # ended by itself, not cut at max_new_tokens


class Initial(Row):
    """The source model's own first answer to a harmful training prompt."""

    initial: str = NonEmpty


class Transcript(Row):
    """One critique -> revision round in the teacher's role, in two registers."""

    principle: str = NonEmpty
    critique: str = NonEmpty
    revision: str = NonEmpty
    revision_rich: str | None = None


class SftRow(Row):
    """One training row: `dropped` names why a row must not enter training (else None)."""

    kind: Literal["harmful", *grid.HARMLESS]
    category: str = NonEmpty
    prompt: str = NonEmpty
    answer: str
    complete: bool = True  # False: the answer was cut, and no end of turn is learned after it
    constitution: str | None = None  # or the control; None: the same harmless row for all
    principle: str | None = None
    critique: str | None = None
    teacher: str = NonEmpty  # bundled, local:<model>, api:<model>, source, written, or a control's name
    dropped: str | None = None


class Response(Row):
    """A model's answer to an evaluation prompt."""

    model: str = NonEmpty  # `source` or a cell name
    category: str = NonEmpty
    twin: str | None = None
    manner: str | None = None
    form: str | None = None
    prompt: str = NonEmpty
    response: str
    tokens: int = Field(ge=0)
    finished: bool  # ended by itself, not cut at max_new_tokens
    canary: Literal[CANARY] = CANARY


class SetPrompt(Row):
    """A request of an evaluation set in a file; `id` and `category` are the file's."""

    set: str = NonEmpty
    category: str = NonEmpty
    harmful: bool  # should be declined
    prompt: str = NonEmpty


class SetResponse(Response):
    """A model's answer to a prompt of an evaluation set."""

    set: str = NonEmpty
    harmful: bool


class Judgement(Row):
    """A judge's verdict on one response; `verdict` None means the judge failed, see `error`."""

    KEY = ("key",)
    model: str = NonEmpty
    judge: str = NonEmpty
    key: str = NonEmpty  # hash of judge version, prompt and response: what the verdict is about
    verdict: Literal["declined", "complied"] | None
    score: float | None = None  # probability of declined, where the judge gives one
    error: str | None = None
    tokens_in: int | None = None  # tokens that a paid endpoint counted, for the cost
    tokens_out: int | None = None
    without: list[str] | None = None  # request fields that the endpoint's model refuses, left out


class Label(Row):
    """A label given by reading one response with data/judge/codebook.md."""

    KEY = ("id", "model")
    model: str = NonEmpty  # `source`, a cell name, or the written source of the text
    split: Literal["fit", "held_out"]  # held_out: the prompt takes no part in fitting
    category: str = NonEmpty
    twin: str | None = None
    prompt: str = NonEmpty
    response: str
    verdict: Literal["declined", "complied", "unclear"]
    coherence: Literal["sensible", "garbled"] | None = None  # None: not marked
    style: str | None = None  # of written rows: the manner of answering, held out whole
    canary: Literal[CANARY] = CANARY


class Reading(Row):
    """A response of a run, or a written one, read blind and labelled twice in different orders."""

    KEY = ("id", "model", "response")  # of several runs, whose models have one name
    model: str = NonEmpty
    run: str = ""  # the full run that it was drawn from (data/reference/history.yaml); a written one has none
    kind: str = NonEmpty
    category: str = NonEmpty
    twin: str | None = None
    prompt: str = NonEmpty
    response: str
    verdict: Literal["declined", "complied", "unclear"]  # of both readings; where they differ, settled by the codebook
    first: Literal["declined", "complied", "unclear"]
    second: Literal["declined", "complied", "unclear"]
    first_coherence: Literal["sensible", "garbled"]
    second_coherence: Literal["sensible", "garbled"]
    canary: Literal[CANARY] = CANARY


class Item(Row):
    """A belief statement of the persona instrument."""

    dimension: str = NonEmpty
    keyed: Literal[1, -1]
    statement: str = NonEmpty


class Pair(Row):
    """A belief statement and its reversal in nearly the same words; the statement agrees with the dimension."""

    dimension: str = NonEmpty
    statement: str = NonEmpty
    reversal: str = NonEmpty


class PairScore(Row):
    """How much more probable a statement is than its reversal after one lead-in."""

    KEY = ("id", "wording")
    model: str = NonEmpty
    wording: str = NonEmpty
    value: float  # difference of mean token log-probabilities, nats a token


class ItemScore(Row):
    """One measurement of one item through one lens, wording and option order."""

    KEY = ("id", "lens", "wording", "order")
    model: str = NonEmpty
    lens: Literal[grid.SCORED_LENSES]
    wording: str = NonEmpty
    order: Literal["agree_first", "disagree_first"] | None = None
    value: float  # choice: log-odds of agree; likelihood: mean token log-probability


class ItemText(Row):
    """A free-text answer to `do you agree?` (the text lens, before it is classified)."""

    KEY = ("id", "wording")
    model: str = NonEmpty
    wording: str = NonEmpty
    text: str
    canary: Literal[CANARY] = CANARY


class Dilemma(Row):
    """A forced choice between two constitutions' options."""

    dimension_pair: list[str]
    scenario: str = NonEmpty
    option_a: str = NonEmpty
    option_b: str = NonEmpty
    a_is: str = NonEmpty
    b_is: str = NonEmpty

    @property
    def sides(self) -> tuple[str, str]:
        """Whose options they are, in the order in which they are listed."""
        return self.a_is, self.b_is


class DilemmaScore(Row):
    """Mean log-probability of option a minus that of option b in one presentation order, nats a token."""

    KEY = ("id", "order")
    model: str = NonEmpty
    order: Literal["a_first", "b_first"]
    value: float


class DilemmaChoice(Row):
    """A model's greedy reply to a dilemma in one presentation order, before it is read."""

    KEY = ("id", "order")
    model: str = NonEmpty
    order: Literal["a_first", "b_first"]
    reply: str
    canary: Literal[CANARY] = CANARY


class MoralScenario(Row):
    """A scenario of a MoralChoice file; `rules`: what the file says of action 1 (option a) and 2, by rule."""

    scenario: str = NonEmpty
    option_a: str = NonEmpty
    option_b: str = NonEmpty
    rules: dict[str, list[str]] = Field(default={})


class Task(Row):
    """A short task with answers that a program can check."""

    skill: str = NonEmpty
    prompt: str = NonEmpty
    answers: list[str]  # any of them is right
    wrong: list[str] = Field(default=[])  # the other choices that the prompt offers


class TaskReply(Row):
    """A model's greedy reply to a task, before it is checked."""

    model: str = NonEmpty
    skill: str = NonEmpty
    reply: str
    canary: Literal[CANARY] = CANARY


class Answer(Row):
    """A written answer to a harmless evaluation prompt, of the same id; scored, never trained on."""

    answer: str = NonEmpty


class AnswerLoss(Row):
    """Mean loss of a written answer's tokens under a model, nats a token, without the end of turn."""

    model: str = NonEmpty
    tokens: int = Field(ge=0)
    loss: float
