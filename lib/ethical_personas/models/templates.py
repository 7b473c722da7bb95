"""Chat templates: the two that a profile may impose, and what any template must do before a model is used.

A template turns a conversation into text. Training and evaluation must see the same text, an answer must follow its
prompt directly, and the answer's turn must end with a token that the tokenizer knows; `end_of_turn` checks all three.
"""

from __future__ import annotations

import datetime
import json
import re

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from ethical_personas.errors import CompanionError

# Templates that a profile may impose; `own` keeps the tokenizer's.
TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "alpaca": (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + '\n\n' }}"
        "{% elif m['role'] == 'user' %}{{ '### Instruction:\n' + m['content'] + '\n\n' }}"
        "{% else %}{{ '### Response:\n' + m['content'] + eos_token + '\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
    ),
}
# Some templates write today's date: a model trained yesterday would be asked another prompt today. They get this
# day instead, the one that Llama's templates fall back to.
DAY = datetime.date(2024, 7, 26)
# Values for the variables that templates read, each passed only to a template that names it.
SETTINGS = {"date_string": DAY.strftime("%d %b %Y"), "enable_thinking": False}

ASK, ANSWER = "Is it so?", "It is so."  # a turn to try a template on


def impose(tokenizer: PreTrainedTokenizerBase, chat_template: str, base_model: str) -> None:
    """Give a tokenizer the profile's template, left padding and a pad token; raises CompanionError.

    `chatml` and `alpaca` begin with whatever special tokens the tokenizer itself puts before a text (Mistral's <s>).
    """
    if chat_template == "own":
        if not tokenizer.chat_template:
            raise CompanionError(f"{base_model}: it has no chat template of its own; -p chat_template chatml or alpaca")
        tokenizer.chat_template = _frozen(tokenizer.get_chat_template(), base_model)  # of several, the default
    else:
        opening = json.dumps("".join(tokenizer.convert_ids_to_tokens(_opening(tokenizer))))
        begin = f"{{{{ {opening} }}}}" if opening != '""' else ""
        tokenizer.chat_template = begin + TEMPLATES[chat_template]
    tokenizer.padding_side = "left"
    # A pad token apart from the tokens that end a turn, so that no mask by pad id can hide those.
    end = end_of_turn(tokenizer, base_model=base_model)
    ends = {tokenizer.eos_token_id, end}
    if tokenizer.pad_token_id in {None, *ends}:
        others = (tokenizer.unk_token, tokenizer.bos_token)
        free = (t for t in others if t and tokenizer.convert_tokens_to_ids(t) not in ends)
        tokenizer.pad_token = next(free, tokenizer.eos_token or tokenizer.convert_ids_to_tokens(end))


def _frozen(template: str, base_model: str) -> str:
    """A template with `DAY` in place of each call for today's date; raises CompanionError where one is left."""
    call = r"strftime_now\(\s*(['\"])(.*?)\1\s*\)"
    frozen = re.sub(call, lambda found: json.dumps(DAY.strftime(found[2])), template)
    if "strftime_now(" in frozen:
        raise CompanionError(f"{base_model}: its chat template writes today's date; -p chat_template chatml or alpaca")
    return frozen


def _opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the special tokens that the tokenizer puts before a text."""
    whole, bare = (tokenizer("a", add_special_tokens=added)["input_ids"] for added in (True, False))
    return next(whole[:k] for k in range(len(whole)) if whole[k : k + len(bare)] == bare)


def apply(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], prompt: bool, tokenize: bool = True):
    """Token ids (or text) of a conversation, the same on any day and without thinking; raises CompanionError.

    Args:
        messages: turns with `role` and `content`.
        prompt: end with the header of the assistant's turn.
        tokenize: return ids, else text.
    """
    known = {name: value for name, value in SETTINGS.items() if name in tokenizer.chat_template}
    try:
        return tokenizer.apply_chat_template(
            messages, add_generation_prompt=prompt, tokenize=tokenize, return_dict=False, **known
        )
    except (TemplateError, TypeError) as error:
        system = " with a system turn; -p system_prompt ''," if messages[0]["role"] == "system" else ";"
        raise CompanionError(
            f"chat_template: the template fails{system} or -p chat_template chatml or alpaca ({error})"
        ) from None


def turns(system: str, user: str, answer: str | None = None) -> list[dict[str, str]]:
    """The conversation; a system turn only when there is a system prompt."""
    found = [{"role": "system", "content": system}] if system else []
    found.append({"role": "user", "content": user})
    return found + ([{"role": "assistant", "content": answer}] if answer is not None else [])


def end_of_turn(tokenizer: PreTrainedTokenizerBase, system: str = "", base_model: str = "chat_template") -> int:
    """Id of the token that the template writes after an answer.

    Raises:
        CompanionError: the template fails, leaves out the system prompt, writes anything between prompt and answer
            (a block of thought), or ends the turn with text that is no token of the tokenizer.
    """
    where = f"{base_model}: its chat template"
    other = "choose another by -p chat_template chatml, alpaca or own"
    asked = apply(tokenizer, turns(system, ASK), prompt=True, tokenize=False)
    whole = apply(tokenizer, turns(system, ASK, ANSWER), prompt=False, tokenize=False)
    if system and system.strip() not in asked:
        raise CompanionError(f"{where} leaves out the system prompt; -p system_prompt '', or {other}")
    before, _, after = whole.rpartition(ANSWER)
    if not before.startswith(asked):
        raise CompanionError(f"{where} writes another prompt once an answer follows; {other}")
    if added := before[len(asked) :].strip():
        raise CompanionError(f"{where} writes {added!r} before each answer (a thinking model?); {other}")
    after = after.strip()
    known = {tokenizer.convert_ids_to_tokens(i): i for i in tokenizer.all_special_ids} | tokenizer.get_added_vocab()
    end = max((token for token in known if after.startswith(token)), key=len, default=None)
    if end is None:
        ending = f"ends a turn with {after!r}, no token of its tokenizer" if after else "never ends an answer's turn"
        raise CompanionError(f"{where} {ending}; {other}")
    return known[end]
