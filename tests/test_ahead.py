"""What `check` finds out before anything is spent: room on the disk, a card, endpoints that answer."""

import json
import os

import loopback
import pytest
from ethical_personas.errors import CompanionError
from ethical_personas.models import base_models
from ethical_personas.paths import ROOT
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import cli, disk, memory, probe

HUB = "hf:some/Mistral-7B@abc"


@pytest.fixture
def nothing_fetched(monkeypatch):
    """No model is on disk, and no pin tells its size."""
    monkeypatch.setattr(base_models, "folder", lambda spec, fetch=True: None)
    monkeypatch.setattr(base_models, "parameters", lambda spec: None)
    monkeypatch.setattr(disk, "_kept_in", lambda spec, root: root)  # else another disk, on some machines
    monkeypatch.setattr(memory, "card", lambda: 0)


def free(monkeypatch, gib):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: cli.argparse.Namespace(free=gib * disk.GIB))


def test_what_a_run_writes_is_counted_by_its_parts(nothing_fetched, tmp_path):
    p = profiles.load("paper", {"base_model": HUB})
    found = {need.what: need for need in disk.needs(p, "paper", tmp_path)}
    assert list(found) == [
        "rows and notebooks", "the source's hidden states", "60 adapters", "the helpful-only source",
        f"{HUB} to be fetched",
    ]  # fmt: skip
    # Mistral 7B is 4096 wide, the embedded model 576.
    assert found["the source's hidden states"].gib == pytest.approx(130 / 1024 * 4096 / 576, rel=0.1)
    assert found["the helpful-only source"].gib == found[f"{HUB} to be fetched"].gib == pytest.approx(14e9 / disk.GIB)
    one_seed = {n.what: n.gib for n in disk.needs(p.model_copy(update={"seeds": [0]}), "paper", tmp_path)}
    assert one_seed["22 adapters"] == pytest.approx(found["60 adapters"].gib * 22 / 60)
    wide = {n.what: n.gib for n in disk.needs(p.model_copy(update={"dtype": "float32"}), "paper", tmp_path)}
    assert wide["60 adapters"] == pytest.approx(2 * found["60 adapters"].gib)


@pytest.mark.parametrize(
    ("weights", "layers", "width", "keys", "inner"),
    [(134_515_008, 30, 576, 192, 1536), (494_032_768, 24, 896, 128, 4864), (7_241_732_096, 32, 4096, 1024, 14336)],
    ids=["SmolLM2-135M", "Qwen2.5-0.5B", "Mistral 7B"],
)
def test_the_size_of_adapters_is_about_right(weights, layers, width, keys, inner):
    p = profiles.load("paper", {"seeds": "[0]", "dose_cells": "[]", "source_stage": "none"})
    (said,) = [size for what, size in disk._run(p, 2.0 * weights).items() if what == "19 adapters"]
    # q and o, k and v, the three of the MLP.
    of_a_layer = 2 * (width + width) + 2 * (width + keys) + 3 * (width + inner)
    assert 0.75 < said / (19 * layers * p.lora_r * of_a_layer * 2) < 1.35


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        ("hf:mistralai/Mistral-7B-v0.1@c", 7e9),
        ("hf:mistralai/Mixtral-8x7B@c", 56e9),
        ("hf:meta-llama/Llama-3.1-8B@c", 8e9),
        ("hf:google/gemma-3-270m@c", 270e6),
        ("path:runs/qwen2.5-coder-0.5b-instruct.gguf", 0.5e9),
        ("hf:openai-community/gpt2@c", 0),
        ("hf:some-3b/own@c", 0),
    ],
)
def test_a_models_size_is_read_in_its_name(spec, number):
    assert disk.by_name(spec) == pytest.approx(number)


def test_a_full_disk_is_one_line_before_the_run(nothing_fetched, monkeypatch, tmp_path):
    p = profiles.load("paper", {"base_model": HUB})
    free(monkeypatch, 1000)
    (line,) = disk.report(p, "paper", tmp_path)
    assert line.startswith(f"  disk: 1000.0 GiB free in {tmp_path}, about ")
    free(monkeypatch, 20)
    with pytest.raises(CompanionError, match=r"20\.0 GiB free in \S+, the run needs about \d\d\.\d \(.*; free some"):
        disk.report(p, "paper", tmp_path)


def test_what_a_stopped_run_has_left_is_not_needed_again(nothing_fetched, tmp_path):
    p = profiles.load("paper", {"base_model": HUB})
    before = {n.what: n.gib for n in disk.needs(p, "paper", tmp_path)}
    (tmp_path / "runs/paper").mkdir(parents=True)
    with (tmp_path / "runs/paper/left").open("wb") as stream:
        stream.truncate(int(1.5 * before["rows and notebooks"] * disk.GIB))  # a file with a hole: it takes no room
    after = {n.what: n.gib for n in disk.needs(p, "paper", tmp_path)}
    assert after["rows and notebooks"] == 0
    assert sum(before.values()) - sum(after.values()) == pytest.approx(1.5 * before["rows and notebooks"], rel=1e-6)


def test_a_size_that_nobody_knows_is_said(nothing_fetched, monkeypatch, tmp_path):
    free(monkeypatch, 50)
    given = {"base_model": "hf:some/own@c", "judge": "hf", "judge_model": "allenai/wildguard"}
    first, *others = disk.report(profiles.load("cpu", given), "cpu", tmp_path)
    assert "rows and notebooks" in first and "adapters" not in first
    assert [line.split(",")[0] for line in others] == [
        "  not counted: 22 adapters",
        "  not counted: hf:some/own@c to be fetched",
        "  not counted: judge_model allenai/wildguard",
    ]


def test_a_clone_that_takes_no_files_is_one_line_and_is_left_as_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(disk.os, "access", lambda path, how: (path, how) != (tmp_path, os.W_OK))
    with pytest.raises(CompanionError, match=r"cannot be written to \(.*\); clone it to your own folder"):
        disk.report(profiles.load("cpu", {}), "cpu", tmp_path)
    assert not list(tmp_path.iterdir())


def check(capsys, *more, profile="smoke"):
    """`check` of a profile in this process: what it printed, and its error."""
    given = [word for key, value in dict(more).items() for word in ("-p", key, value)]
    try:
        cli.main(["check", "--profile", profile, *given])
        error = None
    except CompanionError as stopped:
        error = str(stopped)
    return capsys.readouterr().out, error


@pytest.fixture
def quiet(monkeypatch):
    """The data are in order, and nothing of this process's settings is changed."""
    monkeypatch.setattr(cli.settings, "isolate", lambda: None)
    monkeypatch.setattr(cli.check, "check_all", cli.check.models)
    monkeypatch.setattr(memory, "card", lambda: 0)


def test_a_card_is_held_against_the_largest_job(quiet, monkeypatch, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 262_144}))
    monkeypatch.setattr(memory, "card", lambda: 24_000)
    monkeypatch.setattr(base_models, "folder", lambda spec, fetch=True: tmp_path)
    told, error = check(capsys)
    needed = memory.require_card(0, 0, 262_144)
    assert (
        error is None and f"  CUDA card: 24000 MiB, {24_000 // needed} at a time of its largest jobs ({needed})" in told
    )
    monkeypatch.setattr(memory, "card", lambda: 10_000)
    told, error = check(capsys)
    assert "dilemmas scored" in told and error.startswith("this CUDA card gives 10000 MiB, one job needs about 1")
    assert cli.main(["check", "--profile", "smoke", "--", "--profile", "cluster"]) == 0, "jobs run elsewhere"


@pytest.fixture
def small_card(quiet, nothing_fetched, monkeypatch):
    """A card of 12 GB, which holds no model of 7B; what would be fetched or started is noted."""
    begun = []
    monkeypatch.setattr(memory, "card", lambda: 11_000)
    monkeypatch.setattr(cli, "_fetch", lambda profile: begun.append("fetched"))
    monkeypatch.setattr(cli, "snakemake", lambda config, options: begun.append("started") or 0)
    monkeypatch.setattr(disk, "writable", lambda root: None)
    return begun


@pytest.mark.parametrize("target", ["check", "all"])
def test_a_card_too_small_for_a_model_is_told_before_it_is_fetched(small_card, target):
    with pytest.raises(CompanionError, match=r"this CUDA card gives 11000 MiB, one job needs about 17\d\d\d: take a"):
        cli.main([target, "--profile", "smoke", "-p", "base_model", HUB])
    assert not small_card


def test_a_size_that_no_name_tells_is_looked_at_once_the_model_is_there(small_card, monkeypatch, tmp_path):
    given = ["all", "--profile", "smoke", "-p", "base_model", "hf:some/own@abc"]
    assert cli.main(given) == 0 and small_card == ["fetched", "started"]
    with (tmp_path / "model.safetensors").open("wb") as stream:
        stream.truncate(14 * disk.GIB)  # a file with a hole
    monkeypatch.setattr(cli, "_fetch", lambda p: monkeypatch.setattr(base_models, "folder", lambda *_, **__: tmp_path))
    with pytest.raises(CompanionError, match="this CUDA card gives 11000 MiB"):
        cli.main(given)
    assert small_card == ["fetched", "started"]


def test_a_cluster_is_looked_for_after_the_estimate(quiet, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    for there, told in ((False, "its plug-in is not installed"), (True, "there is no sbatch on this machine")):
        monkeypatch.setattr(cli.executors.importlib.util, "find_spec", lambda module, there=there: there or None)
        with pytest.raises(CompanionError, match=f"^--executor slurm: {told}"):
            cli.main(["check", "--profile", "smoke", "--", "--executor", "slurm"])
        shown = capsys.readouterr().out
        assert "  disk: " in shown and "CUDA card" not in shown


def roles(url):
    """Parameters under which each of the three roles has an endpoint at this address."""
    return {
        "teacher": {"teacher": "api", "teacher_model": "m", "teacher_url": url},
        "judge": {"judge": "api", "judge_model": "m", "judge_url": url},
        "responses": {"responses_url": url, "repetition_penalty": "1"},
    }


@pytest.mark.parametrize("role", ["teacher", "judge", "responses"])
def test_an_endpoint_is_asked_once_for_its_models_and_for_nothing_else(quiet, server, capsys, role):
    server.listing["data"] += [{"id": name} for name in ("source", "deontology-broad-s0")]
    told, error = check(capsys, *roles(server.url)[role].items())
    assert error is None and f"  {role}_url: {server.url} answers; models in its list: 3\n" in told
    ((path, headers),) = server.gets
    assert path == "/v1/models" and headers["authorization"] == "Bearer sk-secret-of-the-test" and not server.calls
    missing = (
        "  note: 'deontology-harassment-s0' and 4 more of 7: not in that list; did you mean 'deontology-broad-s0'?\n"
    )
    assert told.endswith(missing if role == "responses" else "list: 3\n")


def test_a_profile_without_endpoints_asks_nobody(quiet, server, capsys):
    told, error = check(capsys)
    assert error is None and "_url" not in told and not server.gets


def test_a_model_that_is_not_listed_is_a_note(quiet, server, capsys):
    server.listing["data"] = [{"id": "gpt-4o-2024-08-06"}, {"id": "other"}]
    given = roles(server.url)["judge"] | {"judge_model": "gpt-4o-2024-08-07"}
    told, error = check(capsys, *given.items())
    note = "  note: judge_model 'gpt-4o-2024-08-07': not in that list; did you mean 'gpt-4o-2024-08-06'?\n"
    assert error is None and told.endswith(note)


@pytest.mark.parametrize("role", ["teacher", "judge", "responses"])
def test_a_port_where_nobody_listens_is_one_line_after_the_estimate(quiet, server, capsys, role):
    told, error = check(capsys, *roles("http://127.0.0.1:9/v1")[role].items())
    assert "dilemmas scored" in told and "  disk: " in told
    assert error.startswith(f"{role}_url: http://127.0.0.1:9/v1: nobody answers (") and "\n" not in error
    assert error.endswith(f"or name another address: -p {role}_url ADDRESS")


def test_a_server_that_hangs_or_hangs_up_is_one_line(quiet, server, capsys, monkeypatch):
    monkeypatch.setattr(probe, "ANSWER", 0.2)
    for act, told in (("hang", "nobody answers within 0.2 seconds"), ("drop", "nobody answers (")):
        server.listing = act
        error = check(capsys, *roles(server.url)["judge"].items())[1]
        assert error.startswith(f"judge_url: {server.url}: {told}"), error
    assert len(server.gets) == 2, "asked once each"


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_is_one_line_that_does_not_show_it(quiet, server, capsys, status):
    server.listing = loopback.refusal(status, "Incorrect API key provided: sk-secret-of-the-test.")
    error = check(capsys, *roles(server.url)["teacher"].items())[1]
    said = f"teacher_url: {server.url}: the key is refused (HTTP {status}: Incorrect API key provided: [hidden]"
    assert error.startswith(said) and "check OPENAI_API_KEY" in error and "secret" not in error and "\n" not in error


def test_a_key_that_is_wanted_and_not_there_is_to_be_set(quiet, server, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server.listing = 401
    assert "set OPENAI_API_KEY" in check(capsys, *roles(server.url)["judge"].items())[1]
    told, error = check(capsys, ("judge", "api"), ("judge_model", "m"))
    assert error == "OPENAI_API_KEY is not set; judge api needs it, or your own server's address: judge_url"
    assert "hours" in told and "  judge: " in told and "  disk: " in told, "the estimate needs no key"


@pytest.mark.parametrize("target", ["all", "figures"])
def test_a_run_without_its_key_ends_before_anything_begins(quiet, monkeypatch, target):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(cli, "snakemake", lambda config, options: pytest.fail("started"))
    with pytest.raises(CompanionError, match="OPENAI_API_KEY is not set; judge api needs it"):
        cli.main([target, "--profile", "smoke", "-p", "judge", "api", "-p", "judge_model", "m"])


@pytest.mark.parametrize(
    ("profile", "card", "options", "told"),
    [
        ("gpu", 0, [], True),
        ("gpu", 80_000, [], False),
        ("gpu", 0, ["--profile", "cluster"], False),
        ("smoke", 0, [], False),
    ],
)
def test_a_profile_made_for_a_card_says_where_there_is_none(quiet, monkeypatch, capsys, profile, card, options, told):
    monkeypatch.setattr(memory, "card", lambda: card)
    assert cli.main(["check", "--profile", profile, "--", *options]) == 0
    note = f"  note: profile {profile} is made for a CUDA card and none is seen here: it will run on the processor\n"
    assert (note in capsys.readouterr().out) is told


def test_the_environments_address_is_named_as_such(quiet, server, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.listing = 503
    error = check(capsys, ("judge", "api"), ("judge_model", "m"))[1]
    assert error.startswith(f"judge_url: {server.url} (OPENAI_BASE_URL): out of order (HTTP 503: ")
    assert len(server.gets) == 1, "not tried again"


@pytest.mark.parametrize("act", [404, 429, b"<html>welcome</html>", {"data": "none"}, {"models": []}, b"\xff", b"[]"])
def test_an_answer_without_a_list_is_a_note(quiet, server, capsys, act):
    server.listing = act
    told, error = check(capsys, *roles(server.url)["judge"].items())
    assert error is None
    assert f"  note: judge_url: {server.url} answers, but not with a list of models (" in told.splitlines()[-1]


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A clone without files of evaluation sets; where the paper profile expects HarmBench's."""
    monkeypatch.setattr(cli.set_files, "ROOT", tmp_path)
    (spec,) = profiles.load("paper").eval_sets
    assert spec.startswith("harmbench:runs/") and (ROOT / "profiles/paper.yaml").read_text().count("HarmBench to") == 1
    return tmp_path / spec.partition(":")[2]


def test_the_papers_plan_is_printed_without_harmbench_which_is_named_then(
    quiet, nothing_fetched, server, capsys, elsewhere
):
    given = (roles(server.url)["teacher"] | roles(server.url)["judge"]).items()
    told, error = check(capsys, *given, profile="paper")
    assert all(f"  {part}" in told for part in ("training  ", "judge: ", "teacher: ", "disk: ", "about 18.0 hours"))
    (left,) = [line for line in told.splitlines() if "no such file" in line]
    assert left.startswith("  not counted: answers to harmbench:runs/") and "dilemmas scored" in told
    assert error.startswith(f"field eval_sets: {elsewhere.relative_to(cli.set_files.ROOT)}: no such file; put it there")
    assert "github.com/centerforaisafety/HarmBench" in error and "\n" not in error and not server.gets
    elsewhere.parent.mkdir(parents=True)
    rows = [f"Invented behaviour {n},standard,none,,,b{n}" for n in range(200)]
    columns = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID"
    elsewhere.write_text("\n".join([columns, *rows, ""]))
    more, error = check(capsys, *given, profile="paper")
    assert error is None and "no such file" not in more and len(server.gets) == 2
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    assert "  about 20.5 hours" in more and "20.5 hours" in page and "18.0 without" in page
    calls = [int(text.partition("  judge: ")[2].split()[0]) for text in (told, more)]
    assert calls[1] - calls[0] == 58 * 200


@pytest.mark.parametrize("target", ["all", "figures"])
def test_a_run_without_the_file_of_a_set_ends_before_anything_begins(quiet, monkeypatch, elsewhere, target):
    begun = []
    monkeypatch.setattr(cli, "snakemake", lambda config, options: begun.append(target) or 0)
    monkeypatch.setattr(cli, "_fetch", lambda profile: begun.append("fetched"))
    monkeypatch.setattr(disk, "writable", lambda root: None)
    given = [target, "--profile", "smoke", "-p", "eval_sets", "[strongreject:gone.csv]"]
    if target == "figures":  # it reads answers, not the file
        assert cli.main(given) == 0 and begun == ["figures"]
    else:
        with pytest.raises(CompanionError, match=r"field eval_sets: gone\.csv: no such file; put it there, or give"):
            cli.main(given)
        assert not begun
