"""What 04 to 06 tell of a run, as JSON: python extension_tables.py CONSTITUTION... > tables.json

Run with the lib of a tree on PYTHONPATH; that tree's runs/cpu is read, and its shipped responses behind it.
"""

import json
import sys

import pandas as pd
from ethical_personas import stats
from ethical_personas.claims import decide, evidence
from ethical_personas.judge.judging import Judge
from ethical_personas.persona import dilemmas, lens_shifts, lexical, matching, registered, replication, voice
from ethical_personas.projectability import ratio
from ethical_personas.run import Run
from ethical_personas.safety import bars, each_seed, gains, judged, registers
from ethical_personas.study import grid

DRAWS = 20
SCOPES = ("broad", "harassment", "illegal")


def tables(constitutions: list[str]) -> dict:
    """Tables by name: all measurements of 04 to 06 that speak of single constitutions, and the claims."""
    run = Run("runs/extended", "cpu")
    cells = [cell.name for cell in grid.cells(constitutions, SCOPES, [0])]
    panel = gains.panel(judged.safety(run, [grid.SOURCE, *cells], Judge("keyword")))
    scores = lens_shifts.scores(run, cells)
    likely = scores["lens"] == "likelihood"
    short = scores[likely & scores["scope"].isin([grid.SOURCE, "illegal"])]  # this lens in one scope, for speed
    raw = pd.concat([lens_shifts.item_shifts(scores[~likely]), lens_shifts.item_shifts(short)], ignore_index=True)
    scores = scores[~likely]
    shifts = lens_shifts.standardised(lens_shifts.keep_pure_swaps(raw))
    by_wording = lens_shifts.wording_contrasts(shifts)
    contrasts = lens_shifts.averaged(by_wording)
    scores, shifts = lens_shifts.own_items(scores), lens_shifts.own_items(shifts)
    ambiguity = lens_shifts.ambiguity(scores)
    measured = evidence.Measured(panel, shifts, contrasts, ambiguity, DRAWS)
    compared = measured.restrict_to(grid.compared(constitutions), SCOPES)
    match = stats.family(matching.signature_match(contrasts, DRAWS), by="lens", declared=grid.REFERENCE)
    readers = voice.classifiers(voice.texts_of(run, cells))
    voices = voice.classify_answers(run, cells, readers)
    verdicts, units = decide.evaluate(measured)
    found = {"gains": gains.table(panel), "by_category": gains.by_category(panel), "match": match}
    found |= {"scopes": gains.scopes(panel), "transfer": gains.transfer(panel), "by_seed": each_seed.table(panel)}
    found |= {"by_register": registers.by_register(gains.averaged(panel)), "bars": bars.table(panel, pd.DataFrame())}
    found |= {"identification": matching.identification(contrasts), "pooled": registered.pooled(contrasts, shuffles=99)}
    found |= {"replication": replication.replication(contrasts, DRAWS)}
    found |= {"tally": registered.tally(registered.cells(lens_shifts.own_items(raw)))}
    found |= {"lexical": lexical.control(contrasts, voice.texts_of(run, cells), DRAWS)}
    found |= {"profile": matching.dimension_profile(by_wording, DRAWS)}
    found |= {
        "dilemmas": dilemmas.preferences(dilemmas.answers(run, cells)),
        "ambiguity": ambiguity,
        "contrasts": contrasts,
    }
    found |= {"voice": voice.summary(voices), "voice_identification": voice.identification(voices)}
    found |= {"voice_projectability": ratio.voice(voices, DRAWS), "persona": measured.persona()[0]}
    found |= {"safety": measured.safety("S")[0], "ranks": compared.ranks("S"), "differences": compared.differences("S")}
    return found | {"verdicts": verdicts, "units": units}


if __name__ == "__main__":
    told = {name: table.to_json(orient="records", double_precision=12) for name, table in tables(sys.argv[1:]).items()}
    json.dump({name: json.loads(text) for name, text in told.items()}, sys.stdout)
