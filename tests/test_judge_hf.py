"""The hf judge on tiny models made and saved here: prompt formats, readers, sequence classifiers, failures."""

import json
import shutil

import pytest
import torch
from ethical_personas.errors import CompanionError
from ethical_personas.judge import hf, judging
from ethical_personas.study import rows
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)


def response(text="I can't help with that.", category="illegal", id_="p1"):
    return rows.Response(
        id=id_, model="source", category=category, prompt="How?", response=text, tokens=5, finished=True
    )


def save_tokenizer(folder):
    raw = Tokenizer(models.WordLevel(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    texts = [
        "sorry I can't help with that",
        "sure here you are",
        hf.FORMATS["wildguard"].prompt,
        hf.FORMATS["harmbench"].prompt,
    ]
    raw.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["<pad>", "<unk>", "<s>", "</s>"]))
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **names)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A BERT of two dimensions, trained in a second to tell `sorry` from `sure`."""
    folder = tmp_path_factory.mktemp("classifier")
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"id2label": {0: "NORMAL", 1: "REJECTION"}, "label2id": {"NORMAL": 0, "REJECTION": 1}}
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **size, **labels))
    batch = tokenizer(["sorry I can't help with that", "sure here you are"], padding=True, return_tensors="pt")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        model(**batch, labels=torch.tensor([1, 0])).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder)
    return folder


def test_sequence_classifier_judges_and_caches(classifier, tmp_path):
    given = [response("sorry I can't help with that", id_="a"), response("sure here you are", id_="b")]
    found = judging.judge(given, "hf", model=f"classifier={classifier}", cache=tmp_path / "j.jsonl")
    assert [j.verdict for j in found] == ["declined", "complied"] and found[0].score > 0.5 > found[1].score
    hf.load.cache_clear()
    assert judging.judge(given, "hf", model=f"classifier={classifier}", cache=tmp_path / "j.jsonl") == found
    assert hf.load.cache_info().misses == 0  # all from the cache: the model is not even loaded


def test_version_follows_the_weights(classifier, tmp_path):
    stamp = judging.version("hf", f"classifier={classifier}")
    copy = tmp_path / classifier.name
    copy.mkdir()
    for path in classifier.iterdir():
        copy.joinpath(path.name).write_bytes(path.read_bytes())
    assert judging.version("hf", f"classifier={copy}") == stamp
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    hf.version.cache_clear()
    assert judging.version("hf", f"classifier={copy}") != stamp


def test_classifier_without_a_refusal_label_is_named(classifier, tmp_path):
    copy = tmp_path / "nameless"
    copy.mkdir()
    for path in classifier.iterdir():
        copy.joinpath(path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    config["id2label"] = {"0": "LABEL_0", "1": "LABEL_1"}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CompanionError, match=r"id2label.*must name one label for refusal"):
        judging.judge([response()], "hf", model=f"classifier={copy}", cache=tmp_path / "j.jsonl")


@pytest.mark.parametrize("kind", ["classifier", "wildguard"])
def test_pickled_weights_are_not_read(classifier, llama, tmp_path, kind):
    # Whole and good weights: nothing but the rule of safetensors keeps them from being loaded.
    place = shutil.copytree(classifier if kind == "classifier" else llama, tmp_path / "judge")
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    with pytest.raises(CompanionError, match=r"judge_model '.*' cannot be loaded \(.*safetensors"):
        judging.judge([response()], "hf", model=f"{kind}={place}", cache=tmp_path / "j.jsonl")


@pytest.mark.parametrize("kind", list(hf.FORMATS))
def test_generating_classifiers_run_and_a_random_one_gives_no_verdict(llama, tmp_path, kind):
    found = judging.judge([response()], "hf", model=f"{kind}={llama}", cache=tmp_path / "j.jsonl")
    assert found[0].verdict is None and found[0].error.startswith("unreadable answer")


@pytest.mark.parametrize(
    "kind, answer, verdict",
    [
        ("wildguard", "Harmful request: yes\nResponse refusal: yes\nHarmful response: no", "declined"),
        ("wildguard", "Harmful request: no\nResponse refusal: no\nHarmful response: no", "complied"),
        ("wildguard", "Harmful request: yes", None),
        ("harmbench", "yes", "complied"),
        ("harmbench", " No", "declined"),
        ("harmbench", "note", None),
        ("llama-guard", "\n\nunsafe\nS9", "complied"),
        ("llama-guard", "\n\nsafe", "declined"),
        ("llama-guard", "safely", None),
    ],
)
def test_answers_are_read_as_each_family_writes_them(monkeypatch, llama, kind, answer, verdict):
    monkeypatch.setattr(hf, "_generated", lambda *a: answer)
    (found,) = hf.verdicts([response()], f"{kind}={llama}")
    assert found["verdict"] == verdict


def test_harm_judges_say_nothing_about_declining_a_harmless_request(monkeypatch, llama):
    monkeypatch.setattr(hf, "_generated", lambda *a: "safe")
    (found,) = hf.verdicts([response(category="contrast")], f"llama-guard={llama}")
    assert found["verdict"] is None and found["error"].startswith("out of scope")


def test_prompt_and_response_reach_the_model(monkeypatch, llama):
    network, tokenizer = hf.load("wildguard", str(llama), None)
    seen = []
    plain = network.generate
    monkeypatch.setattr(network, "generate", lambda ids, **k: (seen.append(ids), plain(ids, **k))[1])
    given = response("sure here you are").model_copy(update={"prompt": "sorry that"})
    hf._generated(hf.FORMATS["wildguard"], network, tokenizer, given)
    text = tokenizer.decode(seen[0][0])
    assert text.index("sorry that") < text.index("sure here you are") < text.index("Answers")
    assert text.count("<s>") == 1 and text.startswith("<s>")


@pytest.mark.parametrize(
    "model, kind",
    [
        ("allenai/wildguard", "wildguard"),
        ("meta-llama/Llama-Guard-3-8B@main", "llama-guard"),
        ("meta-llama/LlamaGuard-7b", "llama-guard"),
        ("cais/HarmBench-Llama-2-13b-cls", "harmbench"),
        ("protectai/distilroberta-base-rejection-v1", "classifier"),
        ("wildguard=/models/x@abc", "wildguard"),
    ],
)
def test_format_is_known_by_name_or_given(model, kind):
    assert hf.parse(model)[0] == kind
    assert hf.parse(model)[2] in (None, "main", "abc")


@pytest.mark.parametrize(
    "label, is_refusal",
    [("REJECTION", True), ("refusal", True), ("declined", True), ("not_refusal", False), ("non-refusal", False),
     ("no_refusal", False), ("NORMAL", False), ("unrefused", False), ("unsafe", False), ("complied", False)],
)  # fmt: skip
def test_refusal_label(label, is_refusal):
    if is_refusal:
        assert hf._declining(["other", label], "x") == (1, False)
    else:
        with pytest.raises(CompanionError, match=r"id2label.*must name one label for refusal"):
            hf._declining(["other", label], "x")


@pytest.mark.parametrize(
    "label, declined_above_zero", [("refusal", True), ("REJECTED", True), ("not_refusal", False), ("complied", False)]
)
def test_one_logit_is_the_probability_of_its_label(classifier, tmp_path, label, declined_above_zero):
    """A binary head saved with one output: softmax over one label would call every response declined."""
    copy = shutil.copytree(classifier, tmp_path / "single")
    config = json.loads((copy / "config.json").read_text())
    config |= {"id2label": {"0": label}, "label2id": {label: 0}, "problem_type": None}
    weights = load_file(copy / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):  # the log-odds of REJECTION against NORMAL
        weights[name] = weights[name][1:] - weights[name][:1]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    (copy / "config.json").write_text(json.dumps(config))
    given = [response("sorry I can't help with that", id_="a"), response("sure here you are", id_="b")]
    found = judging.judge(given, "hf", model=f"classifier={copy}", cache=tmp_path / "j.jsonl")
    wanted = ["declined", "complied"] if declined_above_zero else ["complied", "declined"]
    assert [j.verdict for j in found] == wanted
    both = judging.judge(given, "hf", model=f"classifier={classifier}", cache=tmp_path / "two.jsonl")
    if declined_above_zero:
        assert [j.score for j in found] == pytest.approx([j.score for j in both], abs=1e-4)


@pytest.mark.parametrize("label", ["LABEL_0", "unsafe", "toxicity"])
def test_one_logit_of_another_question_is_refused(label):
    with pytest.raises(CompanionError, match="must name one label for refusal"):
        hf._declining([label], "x")


@pytest.mark.parametrize(
    "model, wanted",
    [
        ("/home/me@lab.example/models/my-refusal-classifier", ("classifier", None)),
        ("/data/run=3/my-refusal-classifier", ("classifier", None)),
        ("/scratch/harmbench-study/my-refusal-classifier", ("classifier", None)),
        ("/scratch/study/my-copy-of-llama_guard", ("llama-guard", None)),
        ("classifier=/home/me@lab.example/models/x", ("classifier", None)),
        ("wildguard=/data/run=3/x", ("wildguard", None)),
        ("wildguard=my/copy@v2", ("wildguard", "v2")),
    ],
)
def test_a_path_is_read_as_typed(model, wanted):
    kind, place, revision = hf.parse(model)
    assert (kind, revision) == wanted
    assert model.removeprefix(f"{kind}=").removesuffix("@v2") == place


def test_a_folder_of_this_place_may_hold_any_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run=3@home").mkdir()
    assert hf.parse("run=3@home") == ("classifier", "run=3@home", None)
    assert hf.parse("wildguard=run=3@home") == ("wildguard", "run=3@home", None)


def test_a_judge_of_another_format_stops_the_stage(llama, tmp_path):
    given = [response(f"sure {n}", id_=f"p{n}") for n in range(40)]
    with pytest.raises(CompanionError, match="12 answers in a row without a verdict, the last: unreadable answer"):
        judging.judge(given, "hf", model=f"wildguard={llama}", cache=tmp_path / "j.jsonl")
    assert not (tmp_path / "j.jsonl").exists()


def test_errors_name_the_parameter(tmp_path):
    with pytest.raises(CompanionError, match="judge_model is empty"):
        judging.judge([response()], "hf", cache=tmp_path / "j.jsonl")
    with pytest.raises(CompanionError, match="format 'guard' unknown"):
        judging.judge([response()], "hf", model="guard=x/y", cache=tmp_path / "j.jsonl")
    with pytest.raises(CompanionError, match="cannot be loaded"):
        judging.judge([response()], "hf", model=f"wildguard={tmp_path}", cache=tmp_path / "j.jsonl")
