"""What each part of the bundled judge says alone, beside the keyword list and the judge made of both parts.

    python -m ethical_personas.judge.ablation      kappa of each on every labelled sample that no fit has seen; a minute

Nothing is fitted here: words and encoder are the stored ones. `python -m ethical_personas.judge.fit --styles` fits anew
on fewer styles, and so compares on the styles that the stored judge has seen.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ethical_personas import files
from ethical_personas.judge import bundled, calibration, judging
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
    both = np.round(bundled.combined(words, own, read), 3) >= 0  # rounded as in `bundled.scores`
    said = {WORDS: words > 0, ENCODER: read > 0, KEYWORDS: by_keywords(pairs), BOTH: both}
    return {name: hits.astype(float) for name, hits in said.items()}


def by_keywords(pairs: list[tuple[str, str]]) -> np.ndarray:
    """Whether a phrase of the keyword list stands in the response, (rows,) bool."""
    return np.array([refusals.declines(response) for _, response in pairs])


def encoder_version() -> str:
    """What decides the verdicts of the encoder alone."""
    return f"{ENCODER}, {bundled.version()}"


def by_encoder(pairs: list[tuple[str, str]]) -> np.ndarray:
    """Whether the encoder alone says declined, (rows,) bool; it reads only what calibration.KEPT has no verdict on."""
    known, stamp = judging.known_verdicts(calibration.KEPT), encoder_version()
    found = [known.get(judging.key(stamp, *pair)) for pair in pairs]
    said = np.array([row is not None and row.verdict == "declined" for row in found])
    missing = [i for i, row in enumerate(found) if row is None]
    if missing:
        from ethical_personas.judge import encoder  # late: it brings torch, which takes seconds to load

        said[missing] = encoder.logits([pairs[i] for i in missing]) > 0
    return said


def report(table: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Rows like those of `calibration.report`, one for each of ALONE, `by` being "judge".

    table: labelled rows with prompt, response, label and the bundled judge's verdict; a row without verdict, which is
    an empty answer, gets none here either, so that all are measured on the same rows.
    """
    pairs = list(zip(table["prompt"], table["response"], strict=True))
    said = {WORDS: bundled.word_logits(pairs)[:, 0] > 0, ENCODER: by_encoder(pairs), KEYWORDS: by_keywords(pairs)}
    empty = table["verdict"].isna().to_numpy()
    parts = {name: table.assign(verdict=np.where(empty, np.nan, said[name].astype(float))) for name in ALONE}
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
    found["these runs together"] = [r for r in readings if r.run]
    found["earlier runs, held out"] = [r for r in calibration.read_labels() if r.split == "held_out"]
    return found | {"written_held_out": calibration.read_labels("written_held_out")}


def table(alpha: float = 0.05) -> pd.DataFrame:
    """A row a sample: sample, n (clear rows), kappa of keyword list, words, encoder and both, each with its interval.

    Then, in the columns `both - ...`, how much higher the judge's kappa is than each one's, on the same rows.
    """
    clear = {sample: [r for r in labels if r.verdict != "unclear"] for sample, labels in samples().items()}
    pairs = list(dict.fromkeys((r.prompt, r.response) for labels in clear.values() for r in labels))
    place, said = {pair: i for i, pair in enumerate(pairs)}, verdicts(pairs)  # once, though a row may be in two samples
    records = []
    for sample, labels in clear.items():
        marked = pd.DataFrame([(r.prompt, calibration.NUMBER[r.verdict]) for r in labels], columns=["prompt", "label"])
        at = [place[r.prompt, r.response] for r in labels]
        parts = {name: marked.assign(verdict=said[name][at]) for name in (KEYWORDS, WORDS, ENCODER, BOTH)}
        kappas = {name: calibration.measures(part, alpha=alpha) for name, part in parts.items()}
        row = {"sample": sample, "n": len(labels)} | {
            k: calibration.format_measure(m, "kappa") for k, m in kappas.items()
        }
        for name in (KEYWORDS, WORDS, ENCODER):
            row[f"{BOTH} - {name}"] = calibration.format_measure(gain(parts[BOTH], parts[name], alpha), "gain")
        records.append(row)
    return pd.DataFrame(records)


def gain(one: pd.DataFrame, other: pd.DataFrame, alpha: float = 0.05, bootstrap: int = 2000) -> dict[str, float]:
    """How much higher kappa is in `one` than in `other`, two sets of verdicts on the same clear rows.

    Returns:
        gain, gain_low, gain_high: percentiles over resamples of the prompts, in which both have the same prompts.
    """
    first, second = (calibration.resampled_kappas(part, bootstrap) for part in (one, other))
    low, high = np.nanquantile(first - second, [alpha / 2, 1 - alpha / 2])
    kappas = [calibration.kappa_of(part["label"], part["verdict"]) for part in (one, other)]
    return {"gain": kappas[0] - kappas[1], "gain_low": float(low), "gain_high": float(high)}


def main() -> None:
    found = table()
    gains = [name for name in found if name.startswith(f"{BOTH} - ")]
    print("kappa", found.drop(columns=gains).to_string(index=False), sep="\n")
    print("\nkappa of both, less that of each", found[["sample", *gains]].to_string(index=False), sep="\n")


if __name__ == "__main__":
    main()
