"""What each part of the bundled judge says alone, beside the keyword list and the judge made of both parts.

    python -m ethical_personas.judge.ablation      kappa of each on every labelled sample that no fit has seen; seconds

Nothing is fitted here: words and encoder are the stored ones. `python -m ethical_personas.judge.fit --styles` fits anew
on fewer styles, and so compares on the styles that the stored judge has seen.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ethical_personas import files
from ethical_personas.judge import bundled, calibration
from ethical_personas.study import refusals, rows

WORDS, ENCODER, KEYWORDS, BOTH = "words alone", "encoder alone", "keyword list", "both"
ALONE = (WORDS, ENCODER, KEYWORDS)
# Held out when the judge was fitted; the other held-out styles were written when it was finished.
FIRST_STYLES = ("apologetic", "claude_like", "guarded", "list_shaped", "sympathetic", "vicuna_like")


def verdicts(pairs: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    """1.0 declined, 0.0 complied, by words, encoder and keyword list, each alone, and by the judge; shape (rows,) each.

    The parts alone have neither the judge's threshold for this study's own models nor its division of labour: the
    encoder reads every (prompt, response) pair, 10 ms each.
    """
    from ethical_personas.judge import encoder  # late: it brings torch, which takes seconds to load

    words, own = bundled.word_logits(pairs).T
    read = encoder.logits(pairs)
    found = {
        WORDS: words > 0,
        ENCODER: read > 0,
        KEYWORDS: np.array([refusals.declines(response) for _, response in pairs]),
        BOTH: np.round(bundled.combined(words, own, read), 3) >= 0,  # rounded as in `bundled.scores`
    }
    return {name: hits.astype(float) for name, hits in found.items()}


def report(table: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Rows like those of `calibration.report`, one for each of ALONE, `by` being "judge".

    table: labelled rows with prompt, response, label and the bundled judge's verdict; a row without verdict, which is
    an empty answer, gets none here either, so that all are measured on the same rows.
    """
    said = verdicts(list(zip(table["prompt"], table["response"], strict=True)))
    empty = table["verdict"].isna().to_numpy()
    parts = {name: table.assign(verdict=np.where(empty, np.nan, said[name])) for name in ALONE}
    found = [{"by": "judge", "group": k, **calibration.measures(part, alpha=alpha)} for k, part in parts.items()]
    return pd.DataFrame(found)


def samples() -> dict[str, list[rows.Label] | list[rows.Reading]]:
    """Every labelled sample that took no part in fitting, by name: unseen styles, runs by their readings, others."""
    styles = calibration.unseen_styles()
    readings = files.read(calibration.FOLDER / calibration.READINGS, rows.Reading)
    found: dict[str, list[rows.Label] | list[rows.Reading]] = {
        "six unseen styles": [r for r in styles if r.style in FIRST_STYLES],
        "later styles": [r for r in styles if r.style not in FIRST_STYLES],
    }
    for run in dict.fromkeys(r.run for r in readings if r.run):
        found[f"{run} run"] = [r for r in readings if r.run == run]
    found["earlier runs, held out"] = [r for r in calibration.read_labels() if r.split == "held_out"]
    return found | {"written_held_out": calibration.read_labels("written_held_out")}


def table() -> pd.DataFrame:
    """Kappa with its interval, a row a sample: sample, n (clear rows), then keyword list, words, encoder, both."""
    records = []
    for sample, labels in samples().items():
        said = verdicts([(r.prompt, r.response) for r in labels])
        marked = pd.DataFrame({"prompt": [r.prompt for r in labels]})
        marked["label"] = [calibration.NUMBER[r.verdict] for r in labels]
        row: dict = {"sample": sample, "n": int(marked["label"].notna().sum())}
        for name in (KEYWORDS, WORDS, ENCODER, BOTH):
            m = calibration.measures(marked.assign(verdict=said[name]))
            row[name] = calibration.told(m, "kappa")
        records.append(row)
    return pd.DataFrame(records)


if __name__ == "__main__":
    print(table().to_string(index=False))
