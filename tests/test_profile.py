"""Parameters: whatever a user types is a value in its range, or one line that says what is wrong."""

import re

import pytest
import yaml
from ethical_personas.errors import CompanionError
from ethical_personas.study import grid, parameters
from ethical_personas.study import profile as profiles
from hypothesis import example, given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("learning_rte", "1", "parameter 'learning_rte' unknown: did you mean 'learning_rate'?"),
        ("zzzzzz", "1", "parameter 'zzzzzz' unknown: known are alpha, answer_tokens"),
        ("lora_r", "sixteen", "field lora_r: .*integer.*found 'sixteen'"),
        ("lora_r", "16.5", "field lora_r: .*fractional.*found 16.5"),
        ("lora_r", "0", "field lora_r: .*greater than or equal to 1"),
        ("seeds", "[-1]", "field seeds"),
        ("seeds", "[]", "field seeds: .*at least 1"),
        ("seeds", "0", "field seeds: .*list"),
        ("scopes", "[broad, broad]", "field scopes: an entry appears twice"),
        ("scopes", "[narrow]", "field scopes: .*'broad', 'harassment' or 'illegal'"),
        ("constitutions", "[kantian]", "constitution 'kantian' unknown: .*virtue.*kantian.yaml"),
        ("dose_cells", "[virtue-narrow-s0]", "model 'virtue-narrow-s0' is not a cell"),
        ("base_model", "gpt2", "field base_model: .*found 'gpt2'"),
        ("alpha", "1", "field alpha: .*less than 1"),
        ("seed", "1", "parameter 'seed' belongs to one job"),
        ("run_dir", "x", "parameter 'run_dir' belongs to one job"),
        ("epochs", "{1", "parameter epochs: .*not a YAML value"),
        ("teacher", "lokal", "field teacher: .*'bundled', 'local' or 'api' .found 'lokal'"),
        ("teacher", "{virtue: lokal}", "field teacher: .*'bundled', 'local' or 'api' .found {'virtue': 'lokal'}"),
        ("teacher", "{virtu: local}", "field teacher: 'virtu' unknown: did you mean 'virtue'"),
        (
            "teacher",
            "{virtue: api, default: local}",
            r"field teacher: \['api', 'local'\] in one run share teacher_model",
        ),
    ],
)
def test_a_wrong_override_is_named(key, text, told):
    with pytest.raises(CompanionError, match=told) as caught:
        profiles.load("cpu", {key: text})
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_is_named_with_the_nearest():
    with pytest.raises(CompanionError, match="profile 'smke' unknown: did you mean 'smoke'"):
        profiles.load("smke")
    with pytest.raises(CompanionError, match="known are cpu, gpu, ladder-270m, ladder-500m, paper, smoke"):
        profiles.load("zzzzzz")


RUNG = {"scopes", "base_model", "source_stage"}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("gpu", {"seeds", "dtype", "decode_batch"}),
        ("ladder-270m", RUNG | {"chat_template"}),
        ("ladder-500m", RUNG | {"ladder"}),
    ],
)
def test_a_profile_of_the_default_recipe_differs_in_these_alone(name, own):
    default, other = (profiles.load(n).model_dump() for n in ("cpu", name))
    assert {key for key in default if default[key] != other[key]} == own


@pytest.mark.parametrize("text", ["2e-4", "2.0e-4", "0.0002", "2E-04"])
def test_a_number_may_be_written_in_any_way(text):
    assert profiles.load("cpu", {"learning_rate": text}).learning_rate == 2e-4


@pytest.mark.parametrize(
    ("text", "live"),
    [
        ("bundled", {}),
        ("local", {"virtue": "local", "care": "local"}),
        ("{care: local}", {"care": "local"}),
        ("{virtue: bundled, default: api}", {"care": "api"}),
        ("{subordinate: local}", {}),  # not in the run
    ],
)
def test_a_constitution_has_its_own_teacher_or_the_default(text, live):
    chosen = profiles.load("cpu", {"constitutions": "[virtue, care]", "teacher": text})
    assert chosen.live == live
    for name in chosen.constitutions:
        injected = parameters.declared("01_generate") | {"constitution": name, "teacher": chosen.teacher}
        assert parameters.check("01_generate", injected).teacher == live.get(name, "bundled")


def test_overrides_replace_and_the_rest_stays():
    cpu, other = profiles.load("cpu"), profiles.load("cpu", {"seeds": "[0, 1, 2]", "judge": "keyword"})
    assert (other.seeds, other.judge) == ([0, 1, 2], "keyword")
    assert other.model_copy(update={"seeds": cpu.seeds, "judge": cpu.judge}) == cpu


@pytest.mark.parametrize("key", ["system_prompt", "teacher_model", "teacher_url", "judge_model"])
def test_an_empty_text_may_be_given(key):
    assert getattr(profiles.load("paper", {key: ""}), key) == ""


@pytest.mark.parametrize(
    "text", ["42", "'42'", "2e-4", "No", "a: b", "2026-11-26", "{name}", "You are assistant #1 of 2", "- 🙂"]
)
def test_a_text_parameter_is_taken_as_typed(text):
    assert profiles.load("cpu", {"system_prompt": text}).system_prompt == text


@pytest.mark.parametrize("key", ["learning_rate", "epochs", "repetition_penalty"])
def test_an_infinite_number_is_refused(key):
    with pytest.raises(CompanionError, match=f"field {key}"):
        profiles.load("cpu", {key: ".inf"})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        pytest.param("learning_rate", "2024-13-01", id="no such date"),
        pytest.param("epochs", "0x_", id="hexadecimal without digits"),
        pytest.param("epochs", "!!bool x", id="tag that does not fit"),
        pytest.param("lora_r", "1" * 5000, id="endless number"),
        pytest.param("constitutions", f"[{'a' * 300}]", id="name longer than a file name may be"),
    ],
)
def test_a_value_that_yaml_or_the_disk_rejects_is_bad_input(key, text):
    with pytest.raises(CompanionError):
        profiles.load("cpu", {key: text})


FIELDS = st.sampled_from(sorted(profiles.Profile.model_fields))
YAMLISH = st.one_of(
    st.text(max_size=30),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ).map(yaml.safe_dump),
)
# Values that PyYAML's own constructors choke on: known, in the test above.
KNOWN = re.compile(r"!!|^[-+]?0[xb]_+|^\d{4}-\d|\d{1000}")


@given(FIELDS, YAMLISH)
@example("constitutions", "&a [*a]")
@example("seeds", "[[0]]")
@example("learning_rate", "nan")
@example("lora_r", "1e999")
@example("base_model", "")
def test_any_override_loads_or_is_refused_in_one_line(key, text):
    if KNOWN.search(text):
        return
    try:
        profiles.load("cpu", {key: text})
    except CompanionError as error:
        assert key in str(error) or "constitution" in str(error) or "is not a cell" in str(error)


def test_a_profile_that_is_no_mapping_or_lacks_a_field_is_named(tmp_path, monkeypatch):
    cpu = (profiles.PROFILES / "cpu.yaml").read_text(encoding="utf-8")
    monkeypatch.setattr(profiles, "PROFILES", tmp_path)
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(CompanionError, match=r"list\.yaml: a mapping"):
        profiles.load("list")
    (tmp_path / "short.yaml").write_text(re.sub(r"(?m)^lora_r:.*\n", "", cpu))
    with pytest.raises(CompanionError, match=r"short\.yaml: field lora_r: Field required"):
        profiles.load("short")
    (tmp_path / "more.yaml").write_text(cpu + "\nlora_rank: 8\n")
    with pytest.raises(CompanionError, match=r"more\.yaml: parameter 'lora_rank' unknown: did you mean 'lora_\w+'"):
        profiles.load("more")


@pytest.mark.parametrize("notebook", profiles.NOTEBOOKS)
def test_a_notebook_takes_the_profile_and_one_job(notebook):
    smoke = profiles.load("smoke")
    given_values = parameters.for_notebook(smoke, notebook)
    assert not profiles.JOB_PARAMETERS & set(given_values)
    job = {"profile": "smoke", "run_dir": "runs/x"}
    found = parameters.check(notebook, parameters.declared(notebook) | given_values | job)
    assert vars(found) | given_values | job == vars(found)
    assert set(vars(found)) == set(parameters.declared(notebook))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch_sise": 8}, "02_finetune: parameter 'batch_sise' unknown: did you mean 'batch_size'"),
        ({"batch_size": "many"}, "02_finetune: field batch_size"),
        ({"scope": "illegl"}, "02_finetune: field scope: did you mean 'illegal'"),
        ({"constitution": "kantian"}, "constitution 'kantian' unknown"),
        ({"profile": "cpuu"}, "profile 'cpuu' unknown"),
    ],
)
def test_a_notebook_stops_at_a_wrong_parameter(change, told):
    with pytest.raises(CompanionError, match=told):
        injected = "# Parameters\n" + "".join(f"{k} = {v!r}\n" for k, v in change.items())
        parameters.check("02_finetune", parameters.declared("02_finetune") | change | {"In": ["", injected]})


def test_imports_and_ipythons_own_names_are_no_parameters():
    around = {"_oh": {}, "In": ["x"], "Out": {}, "_": 1, "__name__": "__main__", "exit": "quit", "grid": grid}
    assert parameters.check("02_finetune", parameters.declared("02_finetune") | around).scope == "harassment"


@pytest.mark.parametrize("name", ["source", "virtue-broad", "virtue-broad-s", "Virtue-broad-s0", "a/b-broad-s0", ""])
def test_what_is_no_cell_name_is_refused(name):
    with pytest.raises(CompanionError, match="is not a cell"):
        grid.Cell.parse(name)


def test_cells_know_their_categories():
    names = [c.name for c in grid.cells(grid.CONSTITUTIONS, grid.SCOPES, [0, 1])]
    assert len(set(names)) == 24 and [grid.Cell.parse(n).name for n in names] == names
    for cell in map(grid.Cell.parse, names):
        assert set(cell.categories) | set(cell.ood) == set(grid.CATEGORIES) and not set(cell.categories) & set(cell.ood)
        assert cell.held_out is None if cell.scope == "broad" else cell.held_out in cell.ood


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("seeds", "[yes]", "a number is expected"),
        ("epochs", "on", "a number is expected"),
        ("learning_rate", "true", "a number is expected"),
        ("seeds", "[4294967296]", "field seeds"),
        ("dose_steps", "[6, 6]", "field dose_steps: an entry appears twice"),
    ],
)
def test_yes_is_no_number_and_a_list_names_each_once(key, value, told):
    with pytest.raises(CompanionError, match=told):
        profiles.load("cpu", {key: value})


@pytest.mark.parametrize("notebook", profiles.NOTEBOOKS)
def test_what_a_person_defines_elsewhere_is_no_mistyped_parameter(notebook):
    """A start-up file, a scratch cell and a second run of all cells leave names; what papermill injects is checked."""
    kernel = parameters.declared(notebook)
    left = kernel | {"n": 1, "paths": ["a"], "In": ["", "n = 1", "%matplotlib inline"]}
    assert parameters.check(notebook, left).profile == "cpu"
    injected = {"learning_rte": 1, "In": ["", '# Parameters\nlearning_rte = 1\nPAPERMILL_INPUT_PATH = "x"\n']}
    with pytest.raises(CompanionError, match="parameter 'learning_rte' unknown"):
        parameters.check(notebook, left | injected)
