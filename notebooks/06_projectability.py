# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Which strategy projects?
#
# A strategy that is safe only where it was trained may be worth little, since users ask about everything else. The paper
# proposes to judge an ethical strategy by how far it *projects* from narrow training to the rest, in what the model
# does and in the persona it shows, and not only by how safe it is in distribution.
#
# The paper's formula is not known to us (its abstract was read, its body was not). Here, for constitution *k* trained on the narrow scope *s*:
#
# * safety: **pS** = mean gain of *(k, s)* on the categories outside *s* / mean gain of *(k, broad)* on the same; with S
#   and with J = S − O;
# * voice: the same ratio for answers that sound like *k*;
# * persona: **pP** by replication = correlation, item by item, of what sets the narrow model apart with what sets *k*'s
#   broad model apart, beside that with the other constitutions' broad models; and the cosine of the two profiles over
#   dimensions, freed of noise, where a profile stands out of it.
#
# A ratio over a gain that may be zero means nothing: such cases are marked as undefined, with the reason.

# %% tags=["parameters"]
profile = "cpu"
run_dir = "runs/scratch"
figures_dir = "runs/scratch/figures"
constitutions = ["deontology", "consequentialism", "virtue", "subordinate"]
controls = ["plain", "shuffled", "harmless"]
scopes = ["broad", "harassment", "illegal"]
seeds = [0]
teacher = "bundled"
revision_style = "plain"
judge = "bundled"
judge_model = ""
judge_url = ""
bootstrap = 2000
alpha = 0.05

# %%
import pandas as pd
from ethical_personas.claims import decide, evidence, history, specifications
from ethical_personas.figures import projectability as draw
from ethical_personas.figures import registers as draw_registers
from ethical_personas.figures import style
from ethical_personas.persona import lens_shifts, voice, voice_controls
from ethical_personas.projectability import persona, prompts, ratio
from ethical_personas.judge.judging import Judge
from ethical_personas.run import Run
from ethical_personas.safety import gains, judged
from ethical_personas.study import grid, parameters
from IPython.display import Markdown, display

p = parameters.check("06_projectability", globals())
style.use()
run = Run(p.run_dir, p.profile)
run_judge = Judge(p.judge, p.judge_model, p.judge_url)
cells = [cell.name for cell in grid.cells(p.constitutions, p.scopes, p.seeds)]
arms = [cell.name for cell in grid.cells([], p.scopes, p.seeds, p.controls)]
answered = judged.safety(run, [grid.SOURCE, *cells, *arms], run_judge)
panel = gains.panel(answered)
scores = lens_shifts.scores(run, [*cells, *arms])
shifts = lens_shifts.standardised(lens_shifts.keep_pure_swaps(lens_shifts.item_shifts(scores)))
contrasts = lens_shifts.averaged(lens_shifts.wording_contrasts(shifts))
ambiguity = lens_shifts.ambiguity(lens_shifts.own_items(scores))
measured = evidence.Measured(panel, lens_shifts.own_items(shifts), contrasts, ambiguity, p.bootstrap, p.alpha)
tuned = measured.restrict_to(p.constitutions, p.scopes)
compared = measured.restrict_to(grid.compared(p.constitutions), p.scopes)
Markdown(
    f"{len(cells)} tuned models and {len(arms)} of control arms, {len(panel)} prompts, {shifts['id'].nunique()} items, {style.format_seeds(len(p.seeds))}: "
    + ("intervals speak of these models only." if len(p.seeds) == 1 else "intervals include the seeds.")
)

# %% [markdown]
# ## Safety projectability
#
# `estimate` is pS, `narrow_gain` and `broad_gain` its numerator and denominator, `id_gain` the gain on the trained category.
# `p` tests the narrow gain itself (pS = 0); `mde` is on the ratio's scale. A pS that is high on S and low on J comes
# from over-refusal. Grey: control arms, whose pS is what refusing alone carries.

# %%
safety = pd.concat([measured.safety(m)[0] for m in ("S", "J")], ignore_index=True)
style.save(None, safety, p.figures_dir, "projectability_safety")
safety.round(3)

# %% [markdown]
# ## Does it depend on how a request is written?
#
# pS on each form of request, with equal weight for each form (`standardised`), and on registers that training has or never
# saw; for each constitution and for their mean. A part of the prompts has fewer of them: read the intervals, and `mde` in
# the table, before the points.

# %%
by_prompts = prompts.by_prompts(panel, ("S", "J"), p.bootstrap, p.alpha)
on_s = by_prompts[by_prompts["measure"] == "S"]
figure = draw_registers.projectability(on_s, p.alpha) if len(on_s) else style.empty("no narrow model to compare")
style.save(figure, by_prompts, p.figures_dir, "projectability_by_form")
display(figure, Markdown(prompts.reading(by_prompts)))

# %% [markdown]
# ## Persona and voice
#
# For the persona, `repeats` is pP by replication: the correlation, item by item, with the own broad model; always
# defined, and 0 where nothing repeats. `repeats_others` is that with the other constitutions' broad models: contrasts sum to
# zero over constitutions, so it lies below zero by itself where something repeats. pP is a fingerprint and not the registered
# persona alone, and a constitution that sets its models less apart has a lower one for that alone. Of the profiles over dimensions, `estimate` is the plain cosine, `ceiling` what
# noise leaves of a perfect one and `of_ceiling` the cosine freed of noise, undefined where a profile does not repeat
# between halves of its items. For the voice, gains are over the source's answers to the same prompts.

# %%
classifiers = voice.classifiers(voice.texts_of(run, cells, p.revision_style, p.teacher))
heard = voice.classify_answers(run, cells, classifiers)
voices = ratio.voice(heard, p.bootstrap, p.alpha)
personas = tuned.persona()[0]
style.save(None, voices, p.figures_dir, "projectability_voice")
style.save(None, personas, p.figures_dir, "projectability_persona")
display(voices.round(3), personas.round(3))

# %% [markdown]
# The share in the own voice says for the most part how many answers decline: whoever complies gives no reasons. Here it is among the
# answers that decline (`share`), beside the share over all (`unconditional`).

# %%
declined = voice_controls.given_declined(heard, answered[["model", "id", "declined"]], p.alpha)
style.save(None, declined, p.figures_dir, "voice_declined")
declined.round(3)

# %% [markdown]
# ## All side by side
#
# Dashed at 1: narrow training did as much as broad training, off its own topic. Solid at 0: nothing carried. Squares
# and triangles are the two narrow scopes; where they agree, projectability belongs to the constitution and not to the
# topic. The persona's panel has pP by replication, its dashes the same with other constitutions' broad models (`others`),
# and open points the cosine freed of noise (`noise_free`), where there is one.

# %%
summary = persona.summary(safety, voices, personas, "pairs")
figure = draw.projectability(summary, p.alpha) if len(summary) else style.empty("no narrow model to compare")
style.save(figure, summary, p.figures_dir, "projectability")
figure

# %% [markdown]
# ## In distribution against out of distribution
#
# Gain of each constitution on the trained category (left) and on all others (right). Crossing lines: the best in
# distribution is not the best elsewhere. τ is Kendall's correlation of the two orders (ranks with their intervals are in
# the table): gains within each other's intervals cross by noise alone, so the test below asks for pairs whose
# order differs significantly at both ends.

# %%
ranks = pd.concat([compared.ranks(m) for m in ("S", "J")], ignore_index=True)
figure = draw.slopes(ranks, len(panel), p.alpha) if len(ranks) else style.empty("no narrow model to rank")
style.save(figure, ranks, p.figures_dir, "projectability_ranks")
figure

# %% [markdown]
# ## Do constitutions differ?
#
# One omnibus test for each scope and measure over joint bootstrap draws (`estimate`: largest minus smallest pS);
# `cochran_p` asks the simpler question whether the models' verdicts differ at all. Then the pairs that changed places.

# %%
differences = pd.concat([compared.differences(m) for m in ("S", "J")], ignore_index=True)
reversals = pd.concat([compared.reversals(m).assign(measure=m) for m in ("S", "J")], ignore_index=True)
style.save(None, differences, p.figures_dir, "projectability_differences")
style.save(None, reversals, p.figures_dir, "projectability_reversals")
display(differences.round(3), reversals[reversals["reversed"]].round(3))

# %% [markdown]
# ## The claims
#
# `data/claims.yaml` says what each claim means as a test, over which family, and what would count as inconclusive; the
# verdicts are computed from it. `decided_by` names the unit that decides, with its interval; `p` is the claim's (of `all`
# the largest of its units'), `p_holm` the same corrected over the paper's claims, and apart from them over ours, and decides
# nothing; `error` says whether trainings of a constitution are replicates (scopes and seeds) or only items; `passed` counts the models (scopes, pairs) that pass on every measure; `pooled` is the mean over them,
# `mde` what the deciding test could have found. C1 and C2 need J as well as S, on registers that training never saw; the
# same on seen registers stands beside (`S (seen)` below). C6 and C7 set the constitutions against the control arms: what
# reasons add to plain refusals, and what a constitution's own reasons add over reasons drawn from all constitutions. C5b
# and C5e test pP free of noise where every narrow model has one, and else pP by replication, of all of them (`why` says so).
# A small model may well fail a claim that a large one meets: that is a result about small models only.

# %%
verdicts, units = decide.evaluate(measured)
decide.save(verdicts, units, p.figures_dir)
display(Markdown(decide.sentences(verdicts)), verdicts.round(3))

# %% [markdown]
# ## The same claims in earlier runs
#
# Every full run there has been, under the recipe, the judge and the rules of its day. A verdict that comes and goes with the
# recipe is one about the recipe. Each run's date, commit, recipe and S come first (`claims_history_runs`). The last table
# has the effect that each test would have found with 80 % power, now and in the last run of the older design (prompts of one
# manner, without pairs); what each was measured in is to be read before two sizes are compared.

# %%
past = history.table(verdicts)
style.save(None, past, p.figures_dir, "claims_history")
recipes = style.save(None, history.recipes(), p.figures_dir, "claims_history_runs")
power = style.save(None, history.power(verdicts, units), p.figures_dir, "claims_power")
display(recipes, past, power.round(3))

# %% [markdown]
# ## Would another analysis have said the same?
#
# The claims under every combination of what could have been chosen otherwise: the judge, each form of request with equal
# weight or as it comes, the registers of C1's and C2's prompts (unseen in training, seen, all), one measure instead of both
# (of C6a and C6b also J and T, of C6d J), the lens, and the error: over all trainings, with a scope's seeds averaged (`scopes`), over those of the two
# compared (`pair`), or over items alone. `declared` marks the one that decides; the others are shown so that a verdict that
# hangs on a choice is seen to. A specification without enough data is inconclusive, as a claim is.

# %%
judges = {p.judge: panel}
if p.judge != "keyword":
    judges["keyword"] = gains.panel(judged.safety(run, [grid.SOURCE, *cells, *arms], Judge("keyword")))
specified = specifications.verdicts(measured, judges)
style.save(None, specified, p.figures_dir, "claims_specifications")
Markdown(specifications.reading(specified))

# %% [markdown]
# ## What the verdicts rest on
#
# Every unit of every claim. `high_family` is the one-sided upper end, corrected for the tests of which one is enough: below
# the margin, an effect worth the name is ruled out. Rows outside the family (`in_family` false) are shown but not tested: O
# next to S and J, τ next to the pairs. `claims.json` holds the same.

# %%
units.round(3)
