"""What a model can still do: replies to short tasks, and the loss on written answers that no model was trained on.

    files.write(path, replies(chat, ask.tasks(model, 0), batch=64, repetition_penalty=1.1))
    files.write(path, losses(chat, ask.answered(model, prompts)))

Whether a reply is right is analysis (safety/capability.py), and can be redone from these rows without a model.
"""

from __future__ import annotations

from ethical_personas.evaluate import scoring
from ethical_personas.models import decode
from ethical_personas.models.chats import Chat
from ethical_personas.study import rows

REPLY_TOKENS = 12


def replies(chat: Chat, tasks: list[rows.Task], batch: int, repetition_penalty: float) -> list[rows.TaskReply]:
    """Greedy replies to the tasks, REPLY_TOKENS at most."""
    said = decode.answers(chat, [t.prompt for t in tasks], REPLY_TOKENS, batch, repetition_penalty, label="tasks")
    return [
        rows.TaskReply(id=task.id, model=chat.name, skill=task.skill, reply=reply.text)
        for task, reply in zip(tasks, said, strict=True)
    ]


def losses(chat: Chat, answered: list[tuple[rows.Prompt, str]], batch: int = 10) -> list[rows.AnswerLoss]:
    """Mean token loss (nats) of each written answer to its prompt; `batch` of them a forward pass."""
    encoded = [scoring.answer_ids(chat, prompt.prompt, answer) for prompt, answer in answered]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][1]))
    found: dict[int, float] = {}
    with scoring.float_head(chat.model):
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            # The prompt's last token opens the ending: it predicts the answer's first token.
            endings = [[[encoded[i][0][-1], *encoded[i][1]]] for i in chosen]
            lengths = [[len(encoded[i][1])] for i in chosen]
            means = scoring.mean_logprobs(chat, [encoded[i][0][:-1] for i in chosen], endings, lengths)
            found |= {i: -mean for i, mean in zip(chosen, means[:, 0].tolist(), strict=True)}
    return [
        rows.AnswerLoss(id=prompt.id, model=chat.name, tokens=len(encoded[i][1]), loss=found[i])
        for i, (prompt, _) in enumerate(answered)
    ]
