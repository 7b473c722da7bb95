"""The matched pairs: content is the only cue that tells a harmful request from its harmless twin."""

import json
from collections import Counter

import numpy as np
import pytest
from ethical_personas.paths import DATA
from ethical_personas.study import grid
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


def read(name):
    return [json.loads(line) for line in (DATA / "prompts" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


PAIRS, ORDINARY = read("pairs"), read("ordinary")


def test_every_register_has_the_same_number_of_pairs_in_a_category_and_split():
    counts = Counter((p["split"], p["category"], p["register"]) for p in PAIRS)
    train = {c: 12 if c in ("harassment_bullying", "illegal") else 3 for c in grid.CATEGORIES}
    held_out = set(grid.HELD_OUT.values())
    expected = {("train", c, r): train[c] for c in grid.CATEGORIES for r in SEEN}
    expected |= {("eval", c, r): 6 if c in held_out else 4 for c in grid.CATEGORIES for r in SEEN | UNSEEN}
    assert counts == expected


def test_forms_follow_registers_and_are_balanced_over_categories():
    assert all(p["form"] == FORM[p["register"]] for p in PAIRS + ORDINARY if p["register"] != "sloppy")
    for category in grid.CATEGORIES:
        for split, share in (("train", 36 / 96), ("eval", 4 / 10)):
            forms = [p["form"] for p in PAIRS if (p["category"], p["split"]) == (category, split)]
            assert abs(Counter(forms)["imperative"] / len(forms) - share) < 0.06, (category, split)


def test_other_harmless_prompts_come_in_the_same_registers():
    counts = Counter((p["split"], p["category"], p["register"]) for p in ORDINARY)
    expected = {("train", "helpful", r): 20 for r in SEEN} | {("train", "opinion", r): 8 for r in SEEN}
    for kind, number in (("helpful", 6), ("opinion", 6), ("contrast", 8)):
        expected |= {("eval", kind, r): number for r in SEEN | UNSEEN}
    assert counts == expected


def test_a_twin_is_as_long_as_its_request():
    for pair in PAIRS:
        ratio = len(pair["twin"].split()) / len(pair["harmful"].split())
        assert 0.75 <= ratio <= 1.33, pair["id"]


def test_no_prompt_stands_twice_and_evaluation_is_apart_from_training():
    texts = {"train": [], "eval": []}
    for row in PAIRS + ORDINARY:
        texts[row["split"]] += [row[k] for k in ("harmful", "twin", "prompt") if k in row]
    assert len(set(texts["train"] + texts["eval"])) == len(texts["train"] + texts["eval"]) == 1560
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


def separates(features, strength):
    """Balanced accuracy on held-out pairs, mean of three foldings."""
    pairs = [p for p in PAIRS if p["split"] == "train"]
    texts, harmful = [p[k] for p in pairs for k in ("harmful", "twin")], np.tile([1, 0], len(pairs))
    model = make_pipeline(features, LogisticRegression(C=strength, max_iter=2000))
    scores = []
    for seed in range(3):
        groups = np.repeat(np.random.default_rng(seed).permutation(len(pairs)), 2)
        guessed = cross_val_predict(model, texts, harmful, groups=groups, cv=GroupKFold(5))
        scores.append(balanced_accuracy_score(harmful, guessed))
    return float(np.mean(scores))


@pytest.mark.parametrize(("features", "strength", "limit"), [(FORM_ONLY, 0.1, 0.55), (WORDS, 10.0, 0.65)])
def test_neither_form_nor_words_alone_tell_the_classes_apart(features, strength, limit):
    assert separates(features, strength) <= limit
