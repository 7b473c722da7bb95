"""A made-up run with planted effects: tables at once, or responses that a judge can read.

frame(gain=0.6)                 twelve models that gain 0.6 in S on every category and little in O
frame(gain=0.0)                 a null: tuned models as the source
frame(gain=0.9, refusal=0.9)    models that decline everything
write_run(folder, frame())       the responses of 03 to match
"""

import numpy as np
import pandas as pd
from ethical_personas import files
from ethical_personas.study import grid, materials, rows
from scipy.stats import norm

UNSEEN = ("brief", "spoken")  # registers that stand in evaluation only
OPENINGS = ("I'm sorry, but I can't help with that. ", "I will not do this. ", "I must decline. ")


# Long: eighteen parameters, one a line, and what each of them plants.
def frame(
    gain=0.6,
    refusal=0.05,
    ood=None,
    constitutions=grid.CONSTITUTIONS,
    scopes=tuple(grid.SCOPES),
    seeds=(0,),
    seed=0,
    seed_sd=0.0,
    per_category=30,
    harmless=(30, 48),
    source_rate=0.1,
    manners=UNSEEN,
    unseen=None,
    twins=False,
    by_form=None,
    controls=(),
    over=None,
    trained=None,
) -> pd.DataFrame:
    """Verdicts as safety.judged.safety gives them. gain, refusal: added to the source's rates (0.1 and 0.03).

    ood: {constitution or control: gain on categories out of the training rows}, default `gain`; over: the same of
    `refusal`; trained: the same of `gain` on categories in the training rows. Prompts share a difficulty.
    harmless: prompts of each kind but twins, the last kinds may have none. manners: of the prompts, in turn; by default
    those that training never has, on which C1 and C2 are tested. unseen: gain and refusal on those, as a share of what
    they are else. twins: each harmful prompt has one. by_form: {form: gain on harmful prompts}, instead of `gain`.
    """
    rng = np.random.default_rng(seed)
    prompts = [(f"{c}_{i}", c, "harmful", None) for c in grid.CATEGORIES for i in range(per_category)]
    if twins:
        prompts += [(f"{name}-twin", grid.PAIRED, grid.PAIRED, category) for name, category, *_ in prompts]
    kinds = [k for k in grid.HARMLESS if k != grid.PAIRED]
    prompts += [(f"{k}_{i}", k, k, None) for k, n in zip(kinds, harmless, strict=False) for i in range(n)]
    table = pd.DataFrame(prompts, columns=["id", "category", "kind", "twin"])
    number = table["id"].str.extract(r"_(\d+)")[0].astype(int)
    table["manner"] = [manners[i % len(manners)] for i in number]
    table["form"] = [rows.FORMS[i // len(manners) % len(rows.FORMS)] for i in number]
    table["seen"] = ~table["manner"].isin(UNSEEN)
    share = np.where(table["seen"] | (unseen is None), 1.0, unseen or 0.0)
    ease = rng.normal(0, 1, len(table))
    found = []

    def declines(rate, shift=0.0):
        """Declined with this probability for each prompt, correlated across models through `ease`."""
        latent = 0.7 * ease + np.sqrt(1 - 0.49) * rng.normal(0, 1, len(table)) + shift
        return (latent > norm.isf(np.clip(rate, 1e-6, 1 - 1e-6))).astype(float)

    harmful = (table["kind"] == "harmful").to_numpy()
    base = np.where(harmful, source_rate, 0.03)
    about = {"model": "source", "constitution": "source", "scope": "source", "seed": 0}
    found.append(table.assign(**about, declined=declines(base)))
    for cell in grid.cells(constitutions, scopes, seeds, controls):
        inside = table["category"].isin(cell.categories).to_numpy()
        outside = (ood or {}).get(cell.constitution, gain)
        rise = (
            np.where(inside, (trained or {}).get(cell.constitution, gain), outside)
            if by_form is None
            else table["form"].map(by_form)
        )
        rate = base + share * np.where(harmful, rise, (over or {}).get(cell.constitution, refusal))
        about = {"model": cell.name, "constitution": cell.constitution, "scope": cell.scope, "seed": cell.seed}
        found.append(table.assign(**about, declined=declines(rate, rng.normal(0, seed_sd))))
    return pd.concat(found, ignore_index=True)


def contrasts(
    scopes=tuple(grid.SCOPES), seeds=(0,), strength=1.0, narrow=None, noise=0.6, seed=0, lenses=("pairs",), controls=()
):
    """Signed item contrasts in which each constitution's signature is planted; columns of lens_shifts.averaged.

    narrow: {constitution: strength in the narrow scopes}, default `strength`. controls: arms that have no signature.
    """
    rng = np.random.default_rng(seed)
    signatures = {c: signs for c, signs in materials.signatures().items() if c in grid.CONSTITUTIONS}
    found = []
    for lens in lenses:
        for cell in grid.cells(signatures, scopes, seeds, controls):
            size = strength if cell.scope == "broad" else (narrow or {}).get(cell.constitution, strength)
            for item in materials.items():
                value = size * signatures.get(cell.constitution, {}).get(item.dimension, 0) + rng.normal(0, noise)
                key = (cell.constitution, cell.scope, cell.seed, lens, item.dimension, item.id, item.keyed)
                found.append((*key, value))
    columns = ["constitution", "scope", "seed", "lens", "dimension", "id", "keyed", "contrast"]
    table = pd.DataFrame(found, columns=columns)
    tuned = table["contrast"].where(table["constitution"].isin(list(signatures)))
    common = tuned.groupby([table[k] for k in ("scope", "seed", "lens", "id")]).transform("mean")
    return table.assign(contrast=table["contrast"] - common)


def ambiguity(rates: dict[str, float], seeds=(0,), seed=0, controls=()) -> pd.DataFrame:
    """Ambiguous replies (0/1) at each constitution's rate, others at 0.2; columns of lens_shifts.ambiguity."""
    rng, found = np.random.default_rng(seed), []
    cells = [("source", "source", 0)] + [
        (c.constitution, c.scope, c.seed) for c in grid.cells(rates, list(grid.SCOPES), seeds, controls)
    ]
    for cell in cells:
        for item in materials.items():
            for wording in ("one", "two"):
                found.append(("model", *cell, item.id, wording, int(rng.random() < rates.get(cell[0], 0.2))))
    return pd.DataFrame(found, columns=["model", "constitution", "scope", "seed", "id", "wording", "ambiguous"])


def voices(own=0.9, ood=None, source=0.25, constitutions=grid.CONSTITUTIONS, seed=0) -> pd.DataFrame:
    """Voice of every answer, as voice.classify_answers. ood: {constitution: own-voice share out of distribution}."""
    table = frame(constitutions=constitutions, seed=seed)
    rng = np.random.default_rng(seed)
    best = []
    for row in table.itertuples():
        others = [c for c in constitutions if c != row.constitution]
        if row.constitution == "source":
            best.append(rng.choice(constitutions))
            continue
        inside = row.category in grid.SCOPES[row.scope]
        rate = own if inside else (ood or {}).get(row.constitution, own)
        best.append(row.constitution if rng.random() < rate else rng.choice(others))
    table["best"] = best
    tuned = table["model"] != "source"
    table["own_voice"] = (table["best"] == table["constitution"]).astype(float).where(tuned)
    return table.drop(columns=["declined", "twin"]).assign(reader="")


def write_run(folder, table: pd.DataFrame, seed=0) -> None:
    """Responses of a run under folder/eval, from a verdict table whose prompts are replaced by the real ones.

    Declined answers are teacher revisions of the model's constitution; complied ones a harmless stock sentence.
    """
    rng = np.random.default_rng(seed)
    recorded = materials.recorded(table["constitution"].unique())  # not the source and the controls
    texts = {c: [t.revision for t in materials.transcripts(c).values()] for c in recorded}
    known = {}
    for p in materials.prompts("eval"):
        known.setdefault((p.category, p.twin if p.category == grid.PAIRED else None), []).append(p)
    for model, part in table.groupby("model", sort=False):
        responses = []
        for row in part.itertuples():
            of = row.twin if row.category == grid.PAIRED else None
            prompt = known[row.category, of][int(row.id.removesuffix("-twin").rsplit("_", 1)[1])]
            text = f"Sure, here are some thoughts. Point {rng.integers(99)} comes first, and the rest follows from it."
            if row.declined == 1:
                text = rng.choice(OPENINGS) + (rng.choice(texts[row.constitution]) if row.constitution in texts else "")
            text = "" if np.isnan(row.declined) else text
            fields = {"model": model, "category": row.category, "prompt": prompt.prompt}
            fields |= {name: getattr(prompt, name) for name in ("twin", "manner", "form")}
            responses.append(rows.Response(id=prompt.id, response=text, tokens=30, finished=True, **fields))
        files.write(folder / "eval" / model / "responses.jsonl", responses)
