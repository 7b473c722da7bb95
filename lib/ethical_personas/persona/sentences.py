"""Sentences that 05 computes from its tables; no conclusion is typed by hand."""

from __future__ import annotations

import math

import pandas as pd

from ethical_personas.study import grid


def source_ambiguity(table: pd.DataFrame) -> str:
    """The source's share of ambiguous replies, and which constitution is ambiguous most often."""
    tuned = table[table["constitution"] != grid.SOURCE].groupby("constitution")["share"].mean()
    source = table.loc[table["constitution"] == grid.SOURCE, "share"].mean()
    return (
        f"The source is ambiguous in {source:.0%} of its replies; of the constitutions, {tuned.idxmax()} most often "
        f"({tuned.max():.0%}, mean over scopes) and {tuned.idxmin()} least ({tuned.min():.0%})."
    )


def c4(table: pd.DataFrame, alpha: float) -> str:
    """One line a scope and measure on matching.dimension_contrast."""
    if not len(table):
        if not grid.CONTRASTS:
            return "No constitution of data/study.yaml has a contrast, so C4 is not tested."
        return f"The grid of this run has no model of {', '.join(grid.CONTRASTS)}, so C4 is not tested."
    lines = []
    names = {"shift": "relative to the source", "contrast": "relative also to the other constitutions"}
    for (measure, scope), part in table.groupby(["measure", "scope"], sort=False):
        said = []
        for row in part.itertuples():
            clear = row.p_holm < alpha
            direction = "in the paper's direction" if row.estimate > 0 else "against it"
            words = f"{direction}, beyond chance" if clear else f"p (Holm) = {row.p_holm:.2g}"
            said.append(f"{row.lens} {row.estimate:+.3f} [{row.low:.3f}, {row.high:.3f}] ({words})")
        lines.append(f"- **{scope}**, {names[measure]}: {'; '.join(said)}.")
    return "\n".join(lines)


def verdicts(tests: pd.DataFrame, match: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Can each lens tell the personas apart? lens, identified, of, p, tells_apart, sentence.

    tests: rows of matching.identification and voice.identification. The mean decides, the number called by their own
    name stands beside: one shuffle of four constitutions has 24 outcomes, too few to correct for two tests.
    """
    records = []
    names = len(grid.compared(match["constitution"].unique()))
    least = 1 / math.factorial(names)
    for row in tests.to_dict("records"):
        p = row["p_mean"]
        clear = p < alpha
        words = "tells the constitutions apart" if clear else "is not shown to tell the constitutions apart"
        if names < 2:
            words = "has nothing to tell apart: one constitution alone is in this run"
        elif least >= alpha:
            words = f"could not tell the constitutions apart: with so few of them no p below {least:.2g} was possible"
        unit = "share of answers in the own voice" if row["lens"] == "voice" else "cosine with the own signature"
        sentence = (
            f"**{row['lens']}** {words}: mean {unit} {row['mean']:.2f}, p = {p:.3g} over {math.factorial(names)} "
            f"exchanges of constitutions. {row['identified']} of {row['models']} models are called by their own name "
            f"where exchanged ones give {row['chance']:.1f} (p = {row['p_identified']:.3g})."
        )
        part = match[match["lens"] == row["lens"]]
        if len(part):
            along = int(((part["alignment_p"] < alpha) & (part["alignment"] > 0)).sum())
            against = int(((part["alignment_p"] < alpha) & (part["alignment"] < 0)).sum())
            sentence += (
                f" Beyond their items' noise (uncorrected) {along} lie along their signature, {against} against it."
            )
        records.append((row["lens"], row["identified"], row["models"], p, clear, sentence))
    return pd.DataFrame(records, columns=["lens", "identified", "of", "p", "tells_apart", "sentence"])


def registered(tally: pd.DataFrame, pooled: pd.DataFrame) -> str:
    """One line a lens: the registered score, and the match of contrasts that was chosen later."""
    later, lines = pooled.set_index("lens"), []
    for row in tally[tally["constitution"] == grid.MEAN].itertuples():
        one, constitutions = later.loc[row.lens], (tally["lens"] == row.lens).sum() - 1
        lines.append(
            f"- **{row.lens}**: {row.in_line} of {row.of} registered signs of the shift from the source came true "
            f"(exchanged signatures: {row.chance:.1f}; p = {row.p:.3g}); cells without a sign moved less, as "
            f"registered, in {row.zeros_smaller} of {constitutions} constitutions. Chosen later, the match of "
            f"contrasts: mean cosine {one['cosine']:.2f} (p = {one['p_dimensions']:.3g} against shuffled dimensions, "
            f"{one['p_constitutions']:.3g} against exchanged constitutions), {one['alignment']:+.3f} "
            f"[{one['low']:.3f}, {one['high']:.3f}] standard deviations in the registered direction."
        )
    return "\n".join(lines) or "No constitution of this run has a signature."


def registration(table: pd.DataFrame) -> str:
    """What the second registration came to: how many points are met, how many count against, and a line for each."""
    lines = []
    heads = {"counts": ("met", "that were to count for a persona, met")}
    heads["counts against"] = ("against", "that were to count against it, came true")
    for part, (verdict, what) in heads.items():
        points = table[table["part"] == part]
        kept = points.loc[points["verdict"] == verdict, "criterion"]
        named = f" ({', '.join(kept)})" if len(kept) else ""
        lines += [f"Of {len(points)} points {what}: {len(kept)}{named}.", ""]
        for row in points.itertuples():
            if row.verdict == "not measured":
                lines.append(f"- **{row.criterion}**: not measured in this run.")
                continue
            size = f"{row.estimate:.3f}" + ("" if math.isnan(row.low) else f" [{row.low:.3f}, {row.high:.3f}]")
            chance = "" if math.isnan(row.p) else f", p = {row.p:.3g}"
            lines.append(f"- **{row.criterion}**: {size}{chance} ({row.measured}): {row.verdict}.")
        lines.append("")
    return "\n".join(lines)


def replication(table: pd.DataFrame, pooled: pd.DataFrame, alpha: float) -> str:
    """One line a lens and kind: does the item profile repeat, and is what repeats the registered persona?"""
    items = table[(table["part"] == "items") & (table["constitution"] == grid.MEAN)]
    beyond = table[(table["part"] == "beyond") & (table["constitution"] == grid.MEAN)].set_index(["lens", "kind"])
    along, lines = pooled.set_index("lens"), []
    for row in items.itertuples():
        fit = along.loc[row.lens]
        repeats = "repeats" if row.p < alpha else "is not shown to repeat"
        persona = (
            "lies along the registered signs" if fit["low"] > 0 else "is not shown to lie along the registered signs"
        )
        lines.append(
            f"- **{row.lens}**, {row.kind}: r = {row.within:.2f} within constitutions, {row.between:.2f} between (p = "
            f"{row.p:.3g} of {row.arrangements:,.0f} exchanges; {beyond.loc[(row.lens, row.kind), 'within']:.2f} with "
            f"the dimensions' means taken out): a fingerprint {repeats}; it {persona}."
        )
    return "\n".join(lines) or "This run has no two models of one constitution beside two of another."


def lexical(table: pd.DataFrame) -> str:
    """One line a lens: how far contrasts follow the words of the teacher's text, and the match without them."""
    lines = []
    for lens, part in table.groupby("lens", sort=False):
        if part["r"].isna().all():
            lines.append(f"- **{lens}**: no word is commoner in one statement of a pair than in the other.")
            continue
        lines.append(
            f"- **{lens}**: r = {part['r'].mean():.2f} with the lexical score (mean of {len(part)} models, "
            f"{(part['low'] > 0).sum()} intervals above 0); mean match {part['cosine'].mean():.2f}, with the words "
            f"taken out {part['cosine_without'].mean():.2f}."
        )
    return "\n".join(lines)


def dilemmas(table: pd.DataFrame, alpha: float) -> str:
    """One line a measure and arm: which constitutions move further towards their own options than the arm does."""
    lines = []
    for (measure, arm), part in table.groupby(["measure", "arm"], sort=False):
        said = []
        for row in part.itertuples():
            clear = row.p_holm < alpha
            words = ("further" if row.difference > 0 else "less far") if clear else f"p (Holm) = {row.p_holm:.2g}"
            said.append(f"{row.constitution} {row.difference:+.3f} [{row.low:.3f}, {row.high:.3f}] ({words})")
        lines.append(
            f"- **{measure}**, minus {arm}: {'; '.join(said)}; detectable with 80 % power: "
            f"{part['mde'].max():.3f}; of these trainings alone."
        )
    return "\n".join(lines) or "No control arm in this run."


def voice_arms(table: pd.DataFrame) -> str:
    """One line an arm: the voice that is heard in it most, and how many own voices are heard more often than in it."""
    lines = []
    for arm, part in table.groupby("arm", sort=False):
        most = part.loc[part["share"].idxmax()]
        compared = part[part["own"].notna()]
        told = (
            f"- **{arm}**: {most['voice']} at most ({most['share']:.2f} [{most['low']:.2f}, {most['high']:.2f}], "
            f"{most['scope']}, {most['where']})"
        )
        if len(compared):
            more = int((compared["own"] > compared["high"]).sum())
            told += (
                f"; of {len(compared)} own voices, same scope and place, {more} are heard more often in the "
                "constitution's models than this arm's interval reaches"
            )
        lines.append(f"{told}.")
    return "\n".join(lines) or "No control arm in this run."
