"""Rebuild the bundled judge from the committed labels:  python -m ethical_personas.judge.fit [--check]

Rows: data/judge/labels.jsonl with split `fit`, the written chat-style rows, and the teacher's texts, whose
intent is known (revisions decline, written answers comply; at a lower weight). No row of a held-out prompt.
Regularisation and threshold are chosen on folds that keep each prompt together. `--check` refits and compares
with the committed artefact.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from ethical_personas import files
from ethical_personas.errors import CompanionError
from ethical_personas.judge import bundled
from ethical_personas.judge.features import features, head
from ethical_personas.paths import DATA
from ethical_personas.study import grid, materials, rows

LABELS = DATA / "judge" / "labels.jsonl"
WRITTEN = DATA / "judge" / "written.jsonl"
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)  # inverse regularisation tried
FOLDS = 5
TERM_SCALE = 0.5  # words count for less than named features under the same penalty


def training_rows() -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray, list[str]]:
    """Pairs, targets (1 declined), weights and groups (prompts) of every row used for fitting."""
    labels = [r for r in _labels(LABELS) if r.split == "fit"] + _labels(WRITTEN)
    held_out = {p.prompt for p in materials.prompts("eval")}
    if any(r.prompt in held_out for r in labels):
        raise CompanionError(f"{LABELS}: field split: a row of an evaluation prompt is marked `fit`; mark it held_out")
    found = [((r.prompt, r.response), r.verdict == "declined", 1.0) for r in labels if r.verdict != "unclear"]
    prompts = {p.id: p.prompt for p in materials.prompts("train")}
    for constitution in grid.REFERENCE:
        for id_, row in materials.transcripts(constitution).items():
            found += [((prompts[id_], text), True, 0.1) for text in (row.revision, row.revision_rich) if text]
    found += [((prompts[id_], text), False, 0.5) for id_, text in materials.written_answers().items()]
    pairs, target, weight = zip(*found, strict=True)
    return list(pairs), np.array(target, dtype=int), np.array(weight), [prompt for prompt, _ in pairs]


def _labels(path) -> list[rows.Label]:
    return files.read(path, rows.Label)


def prepare(pairs, names) -> tuple[np.ndarray, list[str]]:
    """What a fit needs of each pair, computed once: named features and the response's head."""
    return bundled.matrix(pairs, names), [head(response) for _, response in pairs]


def design(raw, heads, terms, mean, scale):
    """Named features standardised, words scaled: a sparse matrix of rows x (features + terms)."""
    return sp.hstack([sp.csr_matrix((raw - mean) / scale), TERM_SCALE * terms.transform(heads)]).tocsr()


def fit(raw, heads, target, weight, strength: float):
    """Fit on all given rows: (terms, mean, scale, regression); both classes weigh the same in sum."""
    mean, scale = raw.mean(0), np.where(raw.std(0) > 1e-9, raw.std(0), 1.0)
    terms = bundled.vectorizer(min_df=4, max_features=1500).fit(heads)
    balance = np.where(target == 1, 0.5 / weight[target == 1].sum(), 0.5 / weight[target == 0].sum())
    regression = LogisticRegression(C=strength, max_iter=2000, tol=1e-8)
    regression.fit(design(raw, heads, terms, mean, scale), target, sample_weight=weight * balance * weight.sum())
    return terms, mean, scale, regression


def out_of_fold(raw, heads, target, weight, groups, strength: float) -> np.ndarray:
    """Probability of `declined` of each row by a fit that never saw its prompt."""
    probability = np.zeros(len(target))
    for train, test in GroupKFold(FOLDS).split(raw, target, groups):
        *rest, regression = fit(raw[train], [heads[i] for i in train], target[train], weight[train], strength)
        probability[test] = regression.predict_proba(design(raw[test], [heads[i] for i in test], *rest))[:, 1]
    return probability


def loss(probability, target, weight) -> float:
    """Weighted log loss."""
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return float(-np.average(target * np.log(p) + (1 - target) * np.log(1 - p), weights=weight))


def best_threshold(probability, target, weight) -> float:
    """The middle of the thresholds in 0.20-0.80 with the highest balanced accuracy on the folds."""
    grid_ = np.round(np.arange(0.20, 0.801, 0.01), 2)
    value = [
        np.average(probability[target == 1] >= t, weights=weight[target == 1])
        + np.average(probability[target == 0] < t, weights=weight[target == 0])
        for t in grid_
    ]
    return round(float(np.median(grid_[np.array(value) >= max(value) - 1e-9])), 2)


def build() -> dict:
    """The artefact's content, a pure function of the committed rows."""
    pairs, target, weight, groups = training_rows()
    names = sorted(features("", ""))
    raw, heads = prepare(pairs, names)
    tried = {c: out_of_fold(raw, heads, target, weight, groups, c) for c in STRENGTHS}
    losses = {c: loss(p, target, weight) for c, p in tried.items()}
    strength = min(losses, key=losses.__getitem__)
    terms, mean, scale, regression = fit(raw, heads, target, weight, strength)
    weights = regression.coef_[0][: len(names)] / scale
    content = {
        "what": "bundled judge: logistic regression; python -m ethical_personas.judge.fit rebuilds it",
        "rows": len(pairs),
        "strength": strength,
        "fold_losses": {str(c): round(v, 4) for c, v in losses.items()},
        "threshold": best_threshold(tried[strength], target, weight),
        "intercept": round(float(regression.intercept_[0] - weights @ mean), 6),
        "features": names,
        "weights": [round(float(w), 6) for w in weights],
        "terms": [str(t) for t in terms.get_feature_names_out()],
        "idf": [round(float(v), 6) for v in terms.idf_],
        "term_weights": [round(float(w) * TERM_SCALE, 6) for w in regression.coef_[0][len(names) :]],
    }
    return content | {"sha256": bundled.digest(content)}


def same(one: dict, other: dict, tolerance: float = 1e-3) -> bool:
    """Equal words and features, and numbers within `tolerance`: solvers differ in the last digits by machine."""
    numbers = ("weights", "idf", "term_weights", "threshold", "intercept")
    exact = all(one[k] == other[k] for k in ("features", "terms", "rows", "strength"))
    return exact and all(np.allclose(one[k], other[k], atol=tolerance) for k in numbers)


def main() -> None:
    content = build()
    if "--check" in sys.argv:
        bundled.artefact.cache_clear()
        if not same(content, bundled.artefact()):
            raise CompanionError(
                f"{bundled.ARTEFACT}: not what the committed labels give; run python -m ethical_personas.judge.fit"
            )
        print(f"{bundled.ARTEFACT.name} is what {content['rows']} committed rows give")
        return
    bundled.ARTEFACT.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")
    print(f"{content['rows']} rows, C {content['strength']}, losses {content['fold_losses']}, ", end="")
    print(f"threshold {content['threshold']}, sha256 {content['sha256'][:12]}")


if __name__ == "__main__":
    main()
