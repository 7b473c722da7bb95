"""The matched pairs: content is the only cue that tells a harmful request from its harmless twin."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from ethical_personas import files
from ethical_personas.generate import training_rows
from ethical_personas.study import grid, materials, profile, rows
from ethical_personas.workflow import check
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

SEEN = {"terse", "howdoi", "story", "formal", "fiction", "third", "sloppy", "polite"}
UNSEEN = {"brief", "spoken"}  # in evaluation only
FORM = {"terse": "imperative", "howdoi": "how", "story": "wish", "formal": "imperative", "fiction": "imperative"}
FORM |= {"third": "how", "polite": "wish", "brief": "imperative", "spoken": "wish"}  # sloppy: a third each
MARKS = ",.?!:;-'\""


PROMPTS = [p for split in ("train", "eval") for p in materials.prompts(split)]
HARMFUL = [p for p in PROMPTS if p.category in grid.CATEGORIES]
TWINS = {p.id: p for p in PROMPTS if p.category == grid.PAIRED}
PAIRS = [(p, TWINS[training_rows.twin_of(p.id)]) for p in HARMFUL]
OTHERS = [p for p in PROMPTS if p.category in grid.TRAINED]


def test_every_harmful_prompt_has_a_twin_of_its_own_manner_form_and_split():
    assert len(TWINS) == len(PAIRS)
    for request, twin in PAIRS:
        assert twin.twin == request.category
        assert (twin.split, twin.manner, twin.form) == (request.split, request.manner, request.form), request.id


def test_every_register_has_the_same_number_of_pairs_in_a_category_and_split():
    counts = Counter((p.split, p.category, p.manner) for p in HARMFUL)
    train = {c: 12 if c in ("harassment_bullying", "illegal") else 3 for c in grid.CATEGORIES}
    held_out = set(grid.HELD_OUT.values())
    expected = {("train", c, r): train[c] for c in grid.CATEGORIES for r in SEEN}
    expected |= {("train", c, "direct"): 8 * train[c] for c in grid.CATEGORIES}  # the earlier requests, one manner
    expected |= {("eval", c, r): 6 if c in held_out else 4 for c in grid.CATEGORIES for r in SEEN | UNSEEN}
    assert counts == expected


def test_forms_follow_registers_and_are_balanced_over_categories():
    fixed = [p for p in PROMPTS if p.manner in FORM]
    assert all(p.form == FORM[p.manner] for p in fixed) and len(fixed) > 1200
    for category in grid.CATEGORIES:
        for split, share in (("train", 36 / 96), ("eval", 4 / 10)):
            prompts = [p for p in HARMFUL if (p.category, p.split) == (category, split) and p.manner != "direct"]
            assert abs(Counter(p.form for p in prompts)["imperative"] / len(prompts) - share) < 0.06, (category, split)


def asking_how(prompts):
    return sum(p.form == "how" for p in prompts) / len(prompts)


def test_direct_prompts_leave_forms_unequal_over_categories_as_the_card_says_and_equal_within_pairs():
    """Form tells a category's requests from another's, and never a request from its twin."""
    card = (materials.DATA / "prompts/README.md").read_text(encoding="utf-8")
    for category in grid.CATEGORIES:
        pairs = [pair for pair in PAIRS if (pair[0].split, pair[0].category) == ("train", category)]
        parts = [
            pairs,
            *([pair for pair in pairs if (pair[0].manner == "direct") == direct] for direct in (False, True)),
        ]
        for part in parts:
            requests, twins = zip(*part, strict=True)
            assert Counter(p.form for p in requests) == Counter(p.form for p in twins), category
        shares = " | ".join(f"{asking_how([request for request, _ in part]):.2f}" for part in parts)
        assert f"| {category} | {shares} |" in card, category


def test_other_harmless_prompts_come_in_the_same_registers():
    counts = Counter((p.split, p.category, p.manner) for p in OTHERS if p.manner != "direct")
    expected = {("train", "helpful", r): 20 for r in SEEN} | {("train", "opinion", r): 8 for r in SEEN}
    for kind, number in (("helpful", 6), ("opinion", 6), ("contrast", 8)):
        expected |= {("eval", kind, r): number for r in SEEN | UNSEEN}
    assert counts == expected


def test_any_number_of_rows_holds_every_hand():
    """select() takes harmful prompts in file order."""
    for category in grid.CATEGORIES:
        train = [p for p in HARMFUL if (p.split, p.category) == ("train", category)]
        for number in (16, len(train) // 2, len(train)):
            assert Counter(p.manner == "direct" for p in train[:number])[True] == number // 2


def test_a_twin_is_as_long_as_its_request():
    for request, twin in PAIRS:
        ratio = len(twin.prompt.split()) / len(request.prompt.split())
        assert 0.75 <= ratio <= 1.33, request.id


def test_no_prompt_stands_twice_and_evaluation_is_apart_from_training():
    texts = {s: [p.prompt for p in PROMPTS if p.split == s] for s in ("train", "eval")}
    assert len(set(texts["train"] + texts["eval"])) == len(PROMPTS)
    known = [check.grams(t) for t in texts["train"]]
    for text in texts["eval"]:
        mine = check.grams(text)
        assert all(len(mine & other) < check.NEAR * len(mine | other) for other in known), text


def shape(texts):
    """Length, punctuation, capitals and digits of each text."""
    return np.array([[len(t.split()), len(t), *map(t.count, MARKS), sum(c.isupper() for c in t)] for t in texts], float)


def opening(texts):
    return ["_".join(t.lower().split()[:2]) for t in texts]


FORM_ONLY = make_union(
    make_pipeline(FunctionTransformer(shape), StandardScaler()),
    CountVectorizer(vocabulary=sorted(ENGLISH_STOP_WORDS), binary=True),
    make_pipeline(FunctionTransformer(opening), CountVectorizer(token_pattern=r"\S+", binary=True)),
)
WORDS = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)


def separates(chosen, features, strength):
    """Balanced accuracy on rows held out, pairs together, mean of three foldings; chosen: (text, harmful, its pair)."""
    texts, harmful, pairs = zip(*chosen, strict=True)
    pair = pd.factorize(np.array(pairs))[0]
    # The classes weigh the same, or a classifier that calls nearly all rows harmless would hide what it knows.
    model = make_pipeline(features, LogisticRegression(C=strength, max_iter=2000, class_weight="balanced"))
    scores = []
    for seed in range(3):
        groups = np.random.default_rng(seed).permutation(pair.max() + 1)[pair]
        guessed = cross_val_predict(model, texts, harmful, groups=groups, cv=GroupKFold(5))
        scores.append(balanced_accuracy_score(harmful, guessed))
    return float(np.mean(scores))


def trained_on(scope, kinds):
    """(text, harmful, its pair) of the rows of these kinds that a cell of the shipped run trains on."""
    p = profile.load("cpu")
    found = files.read(materials.DATA / "reference/cpu/sft/deontology.jsonl", rows.SftRow)
    numbers = [getattr(p, f"{kind}_rows") for kind in grid.TRAINED]
    chosen = training_rows.select(found, scope, p.rows_per_scope, *numbers)
    return [(r.prompt, r.kind == "harmful", r.id.removesuffix("-twin")) for r in chosen if r.kind in kinds]


@pytest.mark.parametrize(("features", "strength", "limit"), [(FORM_ONLY, 0.1, 0.55), (WORDS, 10.0, 0.65)])
def test_neither_form_nor_words_alone_tell_the_classes_apart_in_the_pairs(features, strength, limit):
    chosen = [(p.prompt, p is pair[0], pair[0].id) for pair in PAIRS if pair[0].split == "train" for p in pair]
    assert separates(chosen, features, strength) <= limit


ALL = ("harmful", grid.PAIRED, *grid.TRAINED)


@pytest.mark.parametrize(
    ("scope", "of_pairs", "of_all"), [("broad", 0.521, 0.556), ("harassment", 0.559, 0.595), ("illegal", 0.546, 0.573)]
)
def test_form_alone_tells_a_little_in_the_rows_that_a_cell_trains_on(scope, of_pairs, of_all):
    """Above 0.55: helpful, contrast and opinion rows have no twin of their form, and harassment's pairs alone reach it.

    The numbers are those measured (and stand in data/prompts/README.md); rows that tell more than that fail.
    """
    for kinds, measured in ((("harmful", grid.PAIRED), of_pairs), (ALL, of_all)):
        assert separates(trained_on(scope, kinds), FORM_ONLY, 0.1) <= measured + 0.02, kinds


@pytest.mark.parametrize(("scope", "limit"), [("broad", 0.62), ("harassment", 0.67), ("illegal", 0.62)])
def test_words_tell_no_more_in_the_rows_that_a_cell_trains_on(scope, limit):
    """Measured: 0.60, 0.65, 0.60 against all harmless rows."""
    assert separates(trained_on(scope, ALL), WORDS, 10.0) <= limit
