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
# # 04 · Does narrow safety tuning make a model safer elsewhere?
#
# Models learned to decline, each for the reasons of one constitution and on one set of topics. The source
# helps with nearly everything. If tuning on harassment alone also changes how a model answers a request for a poison,
# alignment has *emerged* where nobody trained it.
#
# Three numbers are always reported together. **S**: share of harmful prompts declined. **O**: share of harmless prompts
# declined, the over-refusal. **J = S − O**: a model that declines everything gets no credit for it.
# A *gain* is the difference from the source on the same prompts, so prompts are the clusters of every interval.

# %% tags=["parameters"]
profile = "cpu"
run_dir = "runs/scratch"
figures_dir = "runs/scratch/figures"
constitutions = ["deontology", "consequentialism", "virtue", "subordinate"]
controls = ["plain", "shuffled", "harmless"]
scopes = ["broad", "harassment", "illegal"]
seeds = [0]
dose_cells = ["deontology-harassment-s0"]
dose_steps = [8, 24, 60]
judge = "bundled"
judge_model = ""
judge_url = ""
eval_sets = []
alpha = 0.05

# %%
from ethical_personas.evaluate import set_files
from ethical_personas.figures import capability as draw_capability
from ethical_personas.figures import judge as draw_judge
from ethical_personas.figures import registers as draw_registers
from ethical_personas.figures import safety as draw
from ethical_personas.figures import style
from ethical_personas.judge import calibration, labelling
from ethical_personas.judge.judging import Judge
from ethical_personas.run import Run
from ethical_personas.safety import (
    bars,
    capability,
    coherence,
    control_arms,
    each_seed,
    gains,
    judged,
    registers,
    set_rates,
)
from ethical_personas.study import grid, parameters
from IPython.display import Markdown, display

p = parameters.check("04_emergent_alignment", globals())
style.use()
run = Run(p.run_dir, p.profile)
run_judge = Judge(p.judge, p.judge_model, p.judge_url)
models = [grid.SOURCE, *(cell.name for cell in grid.cells(p.constitutions, p.scopes, p.seeds, p.controls))]
steps = judged.checkpoints(run, [c for c in p.dose_cells if c in models], p.dose_steps)
judged.judge_all(run, [*models, *steps], run_judge)
sets = set_rates.judged_sets(run, models, set_files.names(p.eval_sets), run_judge)
frame = judged.safety(run, models, run_judge)
panel = gains.panel(frame)
missing = style.save(None, gains.missing(panel), p.figures_dir, "safety_missing")
Markdown(
    f"{len(models)} models × {len(panel)} prompts, judge `{p.judge}`, {style.format_seeds(len(p.seeds))}. "
    f"Without a verdict: {missing['no_verdict'].sum()} of {missing['of'].sum()} responses; such prompts are dropped in pairs."
)

# %% [markdown]
# ## Who declines what
#
# Read down a column: the source at the top, then models tuned on everything, on harassment alone, on illegal acts
# alone. Grey names are control arms, which share prompts, rows and steps with the constitutions: `plain` learned to refuse
# without reasons, `shuffled` with reasons of no one constitution, `harmless` saw no harmful request. What they do as well
# cannot be credited to a constitution. The line under a number is its interval: the cell's left edge is 0, its right edge 1. A dot marks a category
# that was in the training rows. The frame marks the category that the paper, by what is known of it, keeps out of a
# narrow set and tests on (claim C2). The columns on the right should be pale.

# %%
rates = gains.rates(panel, p.alpha)
figure = draw.heatmap(rates, p.alpha)
style.save(figure, rates, p.figures_dir, "safety_heatmap")
figure

# %% [markdown]
# ## Safer, or only more cautious?
#
# All possible policies on one map: a helpful-only model sits at the bottom left, a model that refuses everything at the top
# right, and on the dashed line a model declines at random, whatever it is asked. The ideal is the top left corner; the height
# above the line is J. The first table averages the constitutions of each scope,
# and has each control arm beside them.

# %%
overall = gains.overall(panel, p.alpha)
figure = draw.corners(overall, p.alpha)
style.save(figure, overall, p.figures_dir, "safety_corners")
scopes_table = style.save(None, gains.scopes(panel, p.alpha), p.figures_dir, "scopes")
display(figure, scopes_table.round(3), overall.round(3))

# %% [markdown]
# ## Gains over the source
#
# Each mark is a model minus the source, paired by prompt. Left: safety. Middle: over-refusal. Right: safety net of
# over-refusal. Filled marks survive Holm's correction over their panel. `mde` in the table is the smallest true gain that a
# test of this size detects with 80 % power; `effect` is Cohen's h (for J: h of the harmful minus h of the harmless).
#
# ## On the category that was filtered out
#
# The sharpest test, as far as the paper's design is known: harassment-only models on chemical and biological requests, illegal-only models on
# misinformation. Each row rests on few prompts, so read `low`, `high` and `mde` before `estimate`. O is the same
# over-refusal as above, repeated because J contains it.

# %%
table = gains.table(panel, p.alpha)
figure = draw.forest(table, p.alpha)
style.save(figure, table, p.figures_dir, "safety_gains")
display(figure, table.round(3))
held_out = style.save(None, gains.table(panel, p.alpha, on="held_out"), p.figures_dir, "safety_held_out")
display(held_out.round(3))

# %% [markdown]
# ## Leave one category out: what transfers where
#
# Rows: what the models were trained on. Columns: what they were evaluated on. Constitutions are averaged, without controls. Framed cells
# were trained; every other cell is transfer. `of_broad` in the table sets the gain against that of models that *did* see the category: 1 is full
# transfer (`safety_by_category` has the same for each constitution separately).

# %%
matrix = gains.transfer(panel, p.alpha)
figure = draw.transfer(matrix, p.alpha)
style.save(figure, matrix, p.figures_dir, "safety_transfer")
style.save(None, gains.by_category(panel, p.alpha), p.figures_dir, "safety_by_category")
display(figure, matrix.round(3))

# %% [markdown]
# ## Does it hold in a manner of writing that training never saw?
#
# Every prompt has a register (terse, a story, formal, …). Two registers stand in evaluation only. A model that learned
# what harmful requests *look* like in training is safe on seen registers alone; claims C1 and C2 are therefore tested on
# the unseen ones. **T** asks the same of pairs: a harmful request and its harmless twin share register, form and topic, so
# T = share declined of the harmful ones minus that of their own twins leaves what is asked as the only difference.
# `gain: unseen − seen` in the table is the change from the source on unseen registers minus that on seen ones. Grey: control
# arms; what they lose on unseen registers, refusals lose without any constitution.
#
# ## Does it tell a harmful request from its twin?
#
# T of every model on all pairs and, for narrow models, on pairs of topics that were not trained (`on` = ood); `estimate` is
# its gain over the source, `mde` the smallest such gain that would be found with 80 % power.
#
# ## Would another training say the same?
#
# Each training seed apart, with an interval over prompts alone: how far the marks of one line lie from one another is what
# a single training cannot tell. Tables above average the seeds, with an interval over both.
#
# ## What do reasons add?
#
# The control arms share prompts, rows and steps with the constitutions, so their models minus an arm's is what a
# constitution's reasons add: over refusals without reasons (`plain`), and over reasons of no one constitution (`shuffled`).
# A loss in S that O shares, J and T being equal, is less caution and no less judgement. Models are paired by prompt and
# scope; the error is over prompts and trainings. Claims C6 and C7 in 06 test a part of this; the rest is shown.
#
# ## Does the form of a request decide?
#
# A request asks *how*, tells what to do, or says what its writer wishes. Models decline these unequally, so a rate over all
# prompts depends on their mix. `standardised` gives each form the same weight, with the variance of a stratified sum.

# %%
averaged = gains.averaged(panel)
by_register = style.save(None, registers.by_register(averaged, p.alpha), p.figures_dir, "safety_by_register")
overview = registers.overview(by_register)
compared = len(grid.compared(p.constitutions))
figure = draw_registers.by_register(overview, compared, p.alpha) if len(overview) else style.empty("no prompts")
style.save(figure, overview, p.figures_dir, "safety_registers")
display(figure, Markdown(registers.read_registers(by_register, p.alpha)))
pairs = style.save(None, registers.pairs(averaged, p.alpha), p.figures_dir, "safety_pairs")
display(Markdown(registers.read_pairs(pairs)), pairs.round(3))
by_seed = each_seed.table(panel, p.alpha)
figure = draw_registers.by_seed(by_seed, compared, p.alpha) if len(by_seed) else style.empty("no tuned model")
style.save(figure, by_seed, p.figures_dir, "safety_by_seed")
display(figure)
added = control_arms.table(panel, p.alpha)
figure = draw_registers.added(added, p.alpha) if len(added) else style.empty("no control arm beside a constitution")
style.save(figure, added, p.figures_dir, "safety_added")
display(figure, Markdown(control_arms.reading(added)))
by_form = style.save(None, registers.by_form(averaged, p.alpha), p.figures_dir, "safety_by_form")
display(Markdown(registers.read_forms(by_form)), by_form.round(3))

# %% [markdown]
# ## Dose: does safety come before over-refusal?
#
# Checkpoints of a cell along its training; the band is the finished model. Nothing was measured between the points. If S
# rises while O is still flat, stopping earlier would have been better.

# %%
dose = gains.dose(judged.safety(run, [grid.SOURCE, *steps], run_judge), p.alpha)
figure = draw.dose(dose, table, p.alpha) if steps else style.empty("no checkpoints in this run: dose was not measured")
style.save(figure, dose, p.figures_dir, "safety_dose")
display(figure, Markdown(gains.read_dose(dose)), dose.round(3))

# %% [markdown]
# ## On evaluation sets that others know
#
# S and O on the sets that the parameter `eval_sets` names, beside the bundled one's, by the same judge; `gain` is the
# difference from the source on the same prompts. The judge was calibrated on the bundled prompts: on another set, read some
# answers before you trust a rate.

# %%
message = 'No other set was asked for: `-p eval_sets "[harmbench:FILE.csv, strongreject:FILE.csv, xstest:FILE.csv]"` adds some.'
shown = [Markdown(message)]
if p.eval_sets:
    by_set = style.save(None, set_rates.table(sets, frame, p.alpha), p.figures_dir, "safety_eval_sets")
    by_category = set_rates.by_category(sets, p.alpha)
    style.save(None, by_category, p.figures_dir, "safety_eval_sets_categories")
    shown = [by_set.round(3), by_category.round(3)]
display(*shown)

# %% [markdown]
# ## Still useful where nothing should be declined?
#
# Five looks beside over-refusal. *Tasks*: short ones with checkable answers. *Loss* on written answers that no model was
# trained on, as a change from the source. Then the answers to harmless requests that were *not* declined: a model
# that learned to be brief gives one sentence where the source gave several, and uses fewer words. Last, *coherence*: some
# of the run's answers were read twice, blind, and marked as sensible or garbled. `sensible` is the share that both readers
# call so, of the answers to harmless requests that comply. Another run has other texts, which nobody has read. At the end, the
# sizes that were set before the recipe was chosen, on other prompts than these: what should not be lost, and how far
# harassment models should carry.

# %%
responses, verdicts = judged.judged(run, models, run_judge)
if capability.has_task_rows(run, models):
    graded = capability.graded(run, models)
    useful = capability.table(graded, capability.losses(run, models), capability.answers(responses, verdicts), p.alpha)
    skills, message = capability.by_skill(graded, p.alpha), capability.sentence(useful)
    figure = draw_capability.capability(useful, p.alpha)
else:
    useful = skills = capability.empty()
    message = "These responses come from an older version that asked no tasks; run 03 again."
    figure = style.empty("no tasks were asked in this run")
style.save(figure, useful, p.figures_dir, "capability")
style.save(None, skills, p.figures_dir, "capability_skills")
coherent = style.save(None, coherence.table(responses, p.alpha), p.figures_dir, "coherence")
display(figure, Markdown(message), useful.round(3), Markdown(coherence.sentence(coherent)), coherent.round(3))
asked = style.save(None, bars.table(panel, useful, p.alpha), p.figures_dir, "safety_bars")
Markdown(bars.reading(asked))

# %% [markdown]
# ## How far the judge can be trusted
#
# The judge's verdicts against labels given by reading. *This run*: answers drawn from it at random; *earlier runs*:
# answers to the same prompts by models of earlier runs; *unseen styles*: answers written in the manner of other
# assistants, in styles that the judge was not fitted on. Sensitivity is the share of declining answers that it finds,
# specificity that of complying ones. Where kappa is under 0.6, read the answers yourself before you believe a rate, and
# where few answers of a group decline, read the interval first. `arm` and `scope` say whether the judge is as good on
# the control arms and on each training set; they are in the table alone.
#
# The bundled judge averages two readers: a count of words, and an encoder of request and answer. Where it is this run's
# judge, the rows `judge` (hollow marks) say what either does alone, and what a plain list of keywords does. Where a part
# alone does as well as the whole, the other adds nothing on such answers; where the list fails, a rate by keywords would
# mislead.
#
# ## What the judge's own errors do
#
# With its sensitivity and specificity known, a raw rate can be corrected (`corrected`: Rogan and Gladen), and the
# interval then carries the labels' uncertainty too. Source and tuned models are corrected by labels of their own
# (`labels` of them), where some decline and some comply; `sensitivity_from` and `specificity_from` say where earlier
# runs' had to do. `powered` subtracts the mean error of the labelled answers instead (prediction-powered inference),
# from what they were drawn from: the source, and all tuned models together. Where `corrected` and `raw` differ, trust
# `corrected`; where `corrected` and `powered` differ, neither. The last table says how far two readings agree.

# %%
read = judged.labelled(run, models, run_judge)
report = judged.judge_report(run, read, run_judge, p.alpha)
figure = draw_judge.report(report, p.alpha)
style.save(figure, report, p.figures_dir, "judge_report")
corrected = judged.corrected(run, frame, read, run_judge, p.alpha)
style.save(None, corrected, p.figures_dir, "safety_corrected")
readings = style.save(None, calibration.agreement(alpha=p.alpha), p.figures_dir, "judge_readings")
display(figure, calibration.compact(report), corrected.round(3), readings.round(3))

# %% [markdown]
# ## Check the judge by hand
#
# How the answers look, by model and kind of request: empty ones, and ones cut at the token limit. Then fifty blinded
# answers, one by one: label each, and see how far you and the judge agree.
#
# ## Another judge, another result?
#
# The same responses under every available judge. `spearman` and `kendall` compare the order of models (control arms left out), `kappa` single
# verdicts. The last table counts disagreements by model; the saved one lists each, with the first words of the answer.

# %%
display(judged.verdict_table(responses, verdicts).round(3), labelling.widget(responses, verdicts))
tuned = [cell.name for cell in grid.cells(p.constitutions, p.scopes, p.seeds)]
swap = judged.swapped(run, [grid.SOURCE, *tuned], run_judge)
style.save(None, swap.rates, p.figures_dir, "judge_rates")
style.save(None, swap.correlations, p.figures_dir, "judge_swap")
style.save(None, swap.disagreements, p.figures_dir, "judge_disagreements")
display(swap.correlations.round(3), swap.rates.round(3), swap.disagreements.groupby(["model", "kind"]).size())
