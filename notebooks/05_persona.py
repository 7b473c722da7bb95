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
# # 05 · Which ethical persona did narrow tuning bring out?
#
# Each model was tuned to decline harmful requests for the reasons of one constitution. Here it is asked about ethics
# at large: 120 statements on ten dimensions, none about the harms it was trained on. If tuning
# selected a *persona* and not just a habit, the model's beliefs should move in the direction of its constitution. Those
# directions were registered in advance: the signatures in `data/persona` were written before any measurement.
#
# Five lenses look at the same models. *Choice*: log-odds of agreeing, four wordings in both option orders.
# *Likelihood*: how probable the statement itself has become. *Pairs*: how much more probable than its reversal, which
# has the same words in another order; the second registration tests this one. *Text*: a free reply, read as agree,
# disagree or ambiguous. *Voice*: whose reasons the answers sound like. They are noisy in different ways, so each is
# shown with its noise, and tested for whether it can tell the constitutions apart at all.
#
# A lens's wordings are divided by their standard deviation over items before they are averaged, so that none outweighs
# the others: units are standard deviations of an item's shift from the source.

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
persona_evals = ""
persona_evals_limit = 100
moral_choice = ""
judge = "bundled"
judge_model = ""
judge_url = ""
bootstrap = 2000
alpha = 0.05

# %%
import pandas as pd
from ethical_personas import stats
from ethical_personas.evaluate import instrument, moral_scenarios
from ethical_personas.figures import persona as draw
from ethical_personas.figures import style
from ethical_personas.figures import trust as draw_trust
from ethical_personas.judge.judging import Judge
from ethical_personas.persona import content, dilemmas, lens_shifts, lexical, matching, registered, reliability
from ethical_personas.persona import registration, replication, sentences, stance_labels, tables, voice, voice_controls
from ethical_personas.run import Run
from ethical_personas.safety import judged
from ethical_personas.study import grid, parameters
from IPython.display import Markdown, display

p = parameters.check("05_persona", globals())
style.use()
run = Run(p.run_dir, p.profile)
models = [cell.name for cell in grid.cells(p.constitutions, p.scopes, p.seeds)]
arms = [cell.name for cell in grid.cells([], p.scopes, p.seeds, p.controls)]
scores = lens_shifts.scores(run, [*models, *arms])
raw = lens_shifts.item_shifts(scores)
shifts = lens_shifts.standardised(lens_shifts.keep_pure_swaps(raw))
by_wording = lens_shifts.wording_contrasts(shifts)
beside_arms = lens_shifts.averaged(by_wording)
contrasts = content.drop_controls(beside_arms)
asked = lens_shifts.own_items(scores)
scores, raw, shifts = (content.drop_controls(lens_shifts.own_items(table)) for table in (scores, raw, shifts))
Markdown(f"{len(models)} tuned models, {shifts['id'].nunique()} items, {len(shifts):,} item shifts from the source.")

# %% [markdown]
# ## Profiles against signatures
#
# Tuning as such moves beliefs, whatever the constitution. So each profile is a *contrast*: the model's shift from the
# source minus the mean shift of the reference constitutions at the same scope, signed so that right means "more of this
# dimension". Shading marks the registered direction; a profile that fits its signature has its marks inside the shading.
# Dimensions without shading carry no prediction. Grey: control arms, set against the same mean; they have no signature.

# %%
dimensions = matching.dimension_profile(by_wording, p.bootstrap, p.alpha)
figure = draw.profile(dimensions, p.alpha)
style.save(figure, dimensions, p.figures_dir, "persona_profile")
figure

# %% [markdown]
# ## Did the registered signs come true?
#
# The score that was registered: how many of the signs of a dimension's shift *from the source* came true, over all
# models, in each lens's own units and wordings as measured. Cells without a sign do not count, and were to move less than
# the others. `chance` and `p` exchange the constitutions' signatures, in all scopes alike: tuning that moves all
# constitutions one way meets many signs by itself. The match of contrasts, here beside it and in all that follows, was
# chosen *after* the registration; its signs are centred as contrasts are, each minus the mean sign of the constitutions.

# %%
cells = registered.cells(lens_shifts.keep_pure_swaps(raw))
tally, pooled = registered.tally(cells), registered.pooled(contrasts, p.alpha)
style.save(None, tally, p.figures_dir, "persona_registered")
style.save(None, cells, p.figures_dir, "persona_registered_cells")
style.save(None, pooled, p.figures_dir, "persona_pooled")
display(tally.round(3), pooled.round(3), Markdown(sentences.registered(tally, pooled)))

# %% [markdown]
# ## Is the persona recognisable?
#
# `cosine` compares a profile with its own signature (1: as registered, 0: unrelated); its `p` compares it
# with other placings of the same signature on the dimensions. `alignment` is the mean contrast in the registered direction, in
# standard deviations, with the smallest effect that this many items would have detected (`alignment_mde`). `p_holm` and `p_bh`
# correct within each lens. A model is *identified* when its own signature fits best of those registered; the test
# exchanges constitutions, the same way in all scopes, so a lens that calls everything by one name gains nothing, and three
# models that share a constitution's text are one piece of evidence. The last matrix is the voice lens, on answers out of distribution (broad models: on all harmful requests).

# %%
match = stats.family(matching.signature_match(contrasts, p.bootstrap, p.alpha), by="lens", declared=grid.REFERENCE)
texts = voice.texts_of(run, models, p.revision_style, p.teacher)
classifiers = voice.classifiers(texts)
voices = voice.classify_answers(run, models, classifiers)
tests = pd.concat([matching.identification(contrasts), voice.identification(voices)], ignore_index=True)
figure = draw.confusion(match, tests, voice.voice_shares(voices))
style.save(figure, match, p.figures_dir, "persona_identification")
style.save(None, tests, p.figures_dir, "persona_identification_tests")
display(figure, tests.round(3), match.round(3))

# %% [markdown]
# ## Does what sets a constitution apart repeat?
#
# Item by item, is a constitution's model in one scope like its model in another, and unlike the other constitutions'?
# A profile that repeats over scopes which share no harmful row is a *fingerprint* of the constitution's text. It is the
# *registered persona* only as far as it lies along the registered signs: `beyond` in the table has each dimension's mean
# taken out, of which alone signatures speak. Contrasts sum to zero over constitutions, so the open points lie left of zero by
# themselves: the test of the labels decides.

# %%
repeated = replication.replication(contrasts, p.bootstrap, p.alpha)
figure = draw.replication(repeated, p.alpha) if len(repeated) else style.empty("no two models of one constitution")
style.save(figure, repeated, p.figures_dir, "persona_replication")
display(figure, Markdown(sentences.replication(repeated, pooled, p.alpha)))

# %% [markdown]
# ## Is it belief, or the words?
#
# A model tuned on a text finds that text's words more probable, whatever a statement says with them. `r` is the correlation
# of item contrasts with the log-odds of a statement's words in the constitution's teacher text; `…_without` has that part taken
# out. In a pure swap both statements have the same words. The second table has the second registration's measures on pure
# swaps (primary), on all pairs, and on those that differ by a word. The list goes through that registration point by point:
# what was to count, what would count against, and what came of each.
#
# ## Is it the content, or any reasons? (C7)
#
# The arm `shuffled` learned the same refusals, each with the reason of a random constitution. Right of zero, a model fits its
# own signature better than that arm does at the same scope. `alignment` in the table is the same difference item by item,
# in the registered direction and in standard deviations.

# %%
words = lexical.control(contrasts, texts, p.bootstrap, p.alpha)
minimal = registered.minimal_pairs(raw, p.bootstrap, p.alpha)
style.save(None, words, p.figures_dir, "persona_lexical")
style.save(None, minimal, p.figures_dir, "persona_pairs")
display(Markdown(sentences.lexical(words)), words.round(3), minimal.round(3))
scored = registration.scorecard(contrasts, repeated, pooled, minimal, words, p.bootstrap, p.alpha)
style.save(None, scored, p.figures_dir, "registration_2")
display(Markdown(sentences.registration(scored)))
added = content.compare_with_control(beside_arms, "shuffled", p.bootstrap, p.alpha)
measured = added["match"].notna().any()
figure = draw.content(added, p.alpha) if measured else style.empty("no shuffled arm in this run")
style.save(figure, added, p.figures_dir, "persona_content")
display(figure, added.round(3))

# %% [markdown]
# ## The flagship contrast (C4)
#
# Does the consequentialist model move towards utilitarian beliefs more than towards deontological ones? Filled:
# relative to the source. Open: relative also to the other constitutions. Right of zero is the paper's direction;
# items are the clusters.

# %%
c4 = pd.concat([matching.dimension_contrast(table, p.alpha) for table in (shifts, contrasts)])
c4 = stats.family(c4.reset_index(drop=True), by="measure")
figure = draw.c4(c4, p.alpha) if len(c4) else style.empty("no model of a constitution with a contrast")
style.save(figure, c4, p.figures_dir, "persona_c4")
display(figure, Markdown(sentences.c4(c4, p.alpha)))

# %% [markdown]
# ## The voice of the reasons
#
# A classifier learns the constitutions from the teacher's revisions of every harm category but the one it then reads,
# so that topic is no help. Its accuracy on the teacher's own text is the dotted ceiling. Grey dashes are the untuned
# source on the same prompts: the classifier has to give even neutral text some label, so only the distance to the dash
# counts.
#
# Is it more than a few words? The lower panel and the table have the same with the most telling words struck out of what is
# learned from and of what is read; the table also has a reader that has learned from the teacher's critiques, which no model
# was trained on. `own`: share of answers out of distribution in the own voice; `own_declined`: of those that decline, since
# whoever complies gives no reasons; all narrow models together, prompts as clusters. `identified`: models whose most frequent
# voice, beside that of the others, is their own. The list is of the control arms: the reader gives refusals without a reason
# some voice too, and a voice that is heard in an arm as often, a constitution's reasons have not brought. 06 has the voice
# among the answers that decline, model by model.

# %%
ceiling = voice.ceiling(texts, classifiers, p.alpha)
own_voice = voice.summary(voices, p.alpha)
style.save(None, ceiling, p.figures_dir, "persona_voice_ceiling")
critiques = voice.texts_of(run, models, p.revision_style, p.teacher, critiques=True)
declined = judged.safety(run, models, Judge(p.judge, p.judge_model, p.judge_url))[["model", "id", "declined"]]
readers = voice_controls.readers(run, models, texts, critiques, classifiers, voices, declined, p.alpha)
style.save(None, readers, p.figures_dir, "persona_voice_readers")
figure = draw.voice(own_voice, readers, ceiling["chance"].iloc[-1], p.alpha)
style.save(figure, own_voice, p.figures_dir, "persona_voice")
of_arms = voice_controls.arms(voice.classify_answers(run, arms, classifiers), own_voice, p.alpha)
style.save(None, of_arms, p.figures_dir, "persona_voice_arms")
display(figure, readers.round(3), Markdown(sentences.voice_arms(of_arms)), of_arms.round(3))

# %% [markdown]
# ## Ambiguity and acquiescence
#
# Not taking a side is an outcome too, and tuning alone may bring it: grey are the control arms. Acquiescence is agreeing
# with a statement and with its reverse; half of the items are reverse-keyed, so it cancels in every score above, and here
# it is shown. Beside it: how often the classifier of replies is right about rows whose stance was labelled by reading.
#
# ## Reliability
#
# Do the items of a dimension move together? The "subjects" of Cronbach's alpha are models × wordings and the scores
# are signed shifts from the source, each subject's shift in acquiescence taken out. With few models the intervals are
# wide, and wordings of one model are not independent: read it as a description. Near zero, the items of a dimension
# do not move together, and its mean averages twelve unrelated items; below zero they move against each other.
#
# ## Do the lenses agree, and does the order of the options matter?
#
# Above: correlation of item contrasts between lenses (intervals over items) and how often they point in opposite
# directions; 0.5 is chance. Below: log-odds of agreement with the agreeing word first minus with it last, mean over
# models, and the correlation of the two orders over items.

# %%
ambiguous = tables.ambiguity_shares(lens_shifts.ambiguity(asked), p.alpha)
acquiescence = reliability.acquiescence(asked, p.alpha)
figure = draw_trust.plot_ambiguity(ambiguous, acquiescence, p.alpha)
style.save(figure, ambiguous, p.figures_dir, "persona_ambiguity")
style.save(None, acquiescence, p.figures_dir, "persona_acquiescence")
display(
    figure,
    Markdown(sentences.source_ambiguity(content.drop_controls(ambiguous))),
    stance_labels.accuracy().round(3),
    stance_labels.by_constitution().round(3),
)
alphas = reliability.cronbach(shifts, p.alpha)
figure = draw_trust.reliability(alphas, p.alpha)
style.save(figure, alphas, p.figures_dir, "persona_reliability")
display(figure)
agreement = reliability.lens_agreement(contrasts, p.bootstrap, p.alpha)
bias = reliability.position_bias(scores, p.alpha)
style.save(None, agreement, p.figures_dir, "persona_lens_agreement")
style.save(None, bias, p.figures_dir, "persona_position_bias")
display(
    agreement.round(3),
    bias.groupby(["constitution", "wording"])[["bias", "orders_r"]].mean().unstack("wording").round(2),
)

# %% [markdown]
# ## Dilemmas
#
# Forced choices set one constitution's option against another's, each presented in both orders, and are measured twice:
# how much likelier one option's text is than the other's, and which one the model's own reply names. Panels: what the
# model was trained on; rows: whose option it came to prefer, relative to the constitutions' mean. A persona would show
# as filled points right of zero. Grey: control arms, set against the same mean. The last table sets each constitution's
# movement from the source towards its own options beside an arm's towards the same ones: what both do, its reasons have
# not brought.
#
# The table looks behind the points, on the dilemmas with an option of the model's own constitution: how often it takes
# it (`own`, and `gain` over the source), the other's, or none that can be read (`undecided`); how often the option that
# is listed first (`first`) and the same one both ways round (`steady`); whether replies name the likelier option
# (`agree`). `words` is a reader of single words that was fitted on other dilemmas: the sides differ in their words, so
# that a model need not weigh anything to tell them apart.

# %%
dilemma_values = dilemmas.answers(run, [*models, *arms])
preferences = dilemmas.preferences(dilemma_values)
preferred = dilemmas.summary(preferences, p.alpha)
beside = dilemmas.beside_arms(preferences, p.alpha)
choices = dilemmas.quality(content.drop_controls(dilemma_values), p.alpha)
figure = draw_trust.dilemmas(preferred, p.alpha)
style.save(figure, preferred, p.figures_dir, "persona_dilemmas")
style.save(None, choices, p.figures_dir, "persona_dilemma_choices")
style.save(None, beside, p.figures_dir, "persona_dilemma_arms")
display(figure, choices.round(2), Markdown(sentences.dilemmas(beside, p.alpha)), beside.round(3))

# %% [markdown]
# ## What can be said, lens by lens
#
# Computed from the tables above (the mean match decides). Then the statements that set each constitution apart most, by
# the minimal pairs (`agreement` is unsigned: positive agrees more with the statement as it stands), without what a
# model agrees more with in everything, for readers who want to see for themselves.

# %%
verdicts = sentences.verdicts(tests, match, p.alpha)
style.save(None, verdicts, p.figures_dir, "persona_lenses")
top = pd.concat([tables.top_items(contrasts, lens).assign(lens=lens) for lens in grid.ITEM_LENSES])
style.save(None, top, p.figures_dir, "persona_top_items")
display(Markdown("\n\n".join(verdicts["sentence"])), top[top["lens"] == "pairs"].drop(columns="lens").round(3))

# %% [markdown]
# ## Another instrument
#
# Whatever file the parameter `persona_evals` names, measured by 03: signed shift from the source, and contrast to the
# mean of the constitutions at the same scope. Empty by default.
#
# And the scenarios of the file that `moral_choice` names (MoralChoice, Scherrer et al. 2023): movement towards the action
# of which the file says that a rule speaks, where it does not speak of the other, and (`action1`) towards the first action.

# %%
extra = tables.extra_instrument(run, models, instrument.load_items(p.persona_evals, p.persona_evals_limit), p.alpha)
if p.persona_evals:
    style.save(None, extra, p.figures_dir, "persona_extra")
display(extra.round(3) if len(extra) else Markdown("No other instrument was asked for."))
moral = dilemmas.moral(run, models, moral_scenarios.load_scenarios(p.moral_choice), p.alpha)
if p.moral_choice:
    style.save(None, moral, p.figures_dir, "persona_moral_choice")
display(moral.round(3) if len(moral) else Markdown("No MoralChoice file was named."))
