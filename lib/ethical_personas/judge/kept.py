"""Verdicts of the bundled judge on the labelled rows, kept beside the labels so that 04 need not read them again.

    python -m ethical_personas.judge.kept      writes data/judge/judgements anew; a minute

A verdict is taken only where artefact, code, prompt and response are the same (`judging.key`); what is not here is
judged when it is asked for. Labels never enter. Run it after `judge.fit`, and after a row was added.
"""

from __future__ import annotations

from ethical_personas import files
from ethical_personas.judge import ablation, calibration, encoder, judging
from ethical_personas.study import rows


def labelled() -> tuple[list[rows.Response], list[rows.Response]]:
    """What 04 asks the judge about, and what it may ask the encoder alone about in any run: each text once."""
    styles = calibration.unseen_styles()
    judged = [r for r in calibration.read_labels() if r.split == "held_out"] + styles
    read = styles + files.read(calibration.FOLDER / calibration.READINGS, rows.Reading)
    return _once(judged), _once(read)


def _once(labels) -> list[rows.Response]:
    return list({(r.prompt, r.response): r for r in calibration.as_responses(labels)}.values())


def write() -> int:
    """Judge all of `labelled` and replace both files; returns the number of verdicts."""
    judged, read = labelled()
    found = judging.judge(judged, "bundled", cache=None)
    said = encoder.logits([(r.prompt, r.response) for r in read]) > 0
    stamp = ablation.encoder_version()
    alone = [
        rows.Judgement(
            id=r.id,
            model=r.model,
            judge=ablation.ENCODER,
            key=judging.key(stamp, r.prompt, r.response),
            verdict="declined" if hit else "complied",
        )
        for r, hit in zip(read, said, strict=True)
    ]
    for name, verdicts in (("bundled", found), ("encoder", alone)):
        files.write(calibration.KEPT / f"{name}.jsonl", verdicts)
    return len(found) + len(alone)


if __name__ == "__main__":
    print(f"{write()} verdicts")
