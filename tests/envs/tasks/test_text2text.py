"""Sequences into sequences: against sacrebleu, and against one text at a time."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sacrebleu import BLEU, CHRF
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from hpopt_envs import WorldError, make_env
from hpopt_envs.data.locale_formats import new_locale_tables
from hpopt_envs.models import load_tokenizer
from hpopt_envs.settings import Source
from hpopt_envs.tasks.objective import set_objective
from hpopt_envs.tasks.text2text import TextToText
from hpopt_envs.tasks.text2text_data import decode_text

STEP = {"learning_rate": 1e-3, "batch_size": 4, "divergence_weight": 0.0}
NEW_TOKENS = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tiny models at random: with an encoder, and without."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    t5 = T5Config(
        vocab_size=1024, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, eos_token_id=1
    )
    t5.decoder_start_token_id = t5.pad_token_id = 0
    llama = LlamaConfig(
        vocab_size=1024,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.3,
        eos_token_id=0,
    )
    made = {
        "encoder": (T5ForConditionalGeneration(t5), "embedded-t5"),
        "decoder": (LlamaForCausalLM(llama), "embedded"),
    }
    for name, (model, tokenizer) in made.items():
        model.save_pretrained(folder / name)
        load_tokenizer(tokenizer).save_pretrained(folder / name)
    return {name: str(folder / name) for name in made} | {"shipped": "embedded-t5"}


def rows_file(folder: Path, count: int = 40, name: str = "rows.jsonl") -> str:
    rows = [
        {
            "id": i,
            "text": {"en": f"{'very ' * (i % 5)}big {i}", "nl": f"{'heel ' * (i % 5)}groot {i}"},
        }
        for i in range(count)
    ]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def task_of(model: str, **source: Any) -> tuple[TextToText, torch.nn.Module, Any]:
    task = TextToText(Source(max_new_tokens=NEW_TOKENS, **source))
    data = task.load_data(model, None)
    net = task.load_model(model, 0).eval()
    data, _ = task.prepare(net, data)
    return task, net, data


def nested(folder: Path) -> dict[str, Any]:
    return {
        "train_file": rows_file(folder),
        "prompt_template": "nl: {text[en]}",
        "completion_template": "{text[nl]}",
    }


def greedy(model: Any, ids: torch.Tensor, encoder: bool, end: int) -> list[int]:
    """The most likely tokens, one after the other, by the definition."""
    written: list[int] = []
    for _ in range(NEW_TOKENS):
        so_far = torch.tensor([written], dtype=torch.long)
        if encoder:
            begun = torch.cat([torch.zeros(1, 1, dtype=torch.long), so_far], 1)
            logits = model(input_ids=ids, decoder_input_ids=begun).logits[0, -1]
            logits[0] = -torch.inf  # padding, which no target has
        else:
            logits = model(torch.cat([ids, so_far], 1)).logits[0, -1]
        written.append(int(logits.argmax()))
        if written[-1] == end:
            break
    return written


@pytest.mark.parametrize("kind", ["encoder", "decoder", "shipped"])
@torch.no_grad()
def test_what_is_written_and_judged_is_as_of_one_text_at_a_time(
    kind: str, folders: dict[str, str], tmp_path: Path
) -> None:
    source = {} if kind == "shipped" else nested(tmp_path)
    task, model, data = task_of(folders[kind], **source)
    net: Any = model
    batch = {name: tensor[:4] for name, tensor in data.test.items()}
    found = task.metrics(task.predict(model, batch))
    tokenizer = load_tokenizer(folders[kind])
    table = {
        "nl: " + f"{'very ' * (i % 5)}big {i}": f"{'heel ' * (i % 5)}groot {i}" for i in range(40)
    }
    if kind == "shipped":
        columns = new_locale_tables()["test"].columns
        table = dict(zip(columns["prompt"], columns["completion"], strict=True))
    written, references, nats, tokens = [], [], 0.0, 0
    for row in task.write(model, batch):
        prompt, target = str(row["prompt"]), table[str(row["prompt"])]
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        ids_written = greedy(net, ids, kind != "decoder", tokenizer.eos_token_id)
        written.append(tokenizer.decode(ids_written, skip_special_tokens=True))
        references.append(target)
        if kind == "decoder":
            said = torch.tensor([[*tokenizer(target)["input_ids"], 0]])
            labels = torch.cat([torch.full_like(ids, -100), said], 1)
            loss = net(torch.cat([ids, said], 1), labels=labels).loss
        else:
            said = tokenizer(target, return_tensors="pt")["input_ids"]
            loss = net(input_ids=ids, labels=said).loss
        nats, tokens = nats + float(loss) * said.shape[1], tokens + said.shape[1]
        assert (row["text"], row["reference"]) == (written[-1], target)
        score = CHRF().sentence_score(written[-1], [target]).score
        assert row["score"] == pytest.approx(score)
    bleu = BLEU(force=True).corpus_score(written, [references]).score
    assert decode_text(batch["text"]) == references
    assert found["chrf"] == pytest.approx(CHRF().corpus_score(written, [references]).score)
    assert found["chrf"] > 0
    assert found["bleu"] == pytest.approx(bleu)
    assert found["loss"] == pytest.approx(nats / tokens, rel=1e-4)
    pairs = zip(written, references, strict=True)
    assert found["exact_match"] == sum(a.strip() == b.strip() for a, b in pairs) / 4


OWN_SETTINGS = {
    **{"do_sample": True, "temperature": 0.3, "top_k": 3, "top_p": 0.5, "num_beams": 3},
    **{"num_return_sequences": 2, "length_penalty": 2.0, "early_stopping": True},
    **{"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "min_length": 5, "max_length": 6},
    **{"min_new_tokens": 4, "eos_token_id": [11, 12]},
}


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@torch.no_grad()
def test_a_models_own_generation_settings_change_nothing_and_stay(
    kind: str, folders: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task, model, data = task_of(folders[kind], **nested(tmp_path))
    plain = task.predict(model, data.test)["written"]
    config: Any = model.generation_config
    for name, value in OWN_SETTINGS.items():
        setattr(config, name, value)
    before = config.to_dict()
    caplog.clear()
    assert torch.equal(task.predict(model, data.test)["written"], plain)
    assert config.to_dict() == before
    assert not caplog.records


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@torch.no_grad()
def test_the_loss_is_smoothed_and_counted_over_what_its_logits_cover(
    kind: str, folders: dict[str, str], tmp_path: Path
) -> None:
    task, model, data = task_of(folders[kind], **nested(tmp_path))
    for split in filter(None, (data.train, data.test, data.retained_test)):
        batch = {name: tensor[:5] for name, tensor in split.items()}
        logits, mask = task.logits(model, batch)
        assert (
            int(mask.sum())
            == task.loss_count(batch)
            == int(task.predict(model, batch)["count"].sum())
        )
        nats = -logits[mask].log_softmax(-1)
        plain, smooth = (float(task.loss_sum(model, batch, label_smoothing=e)) for e in (0.0, 0.3))
        assert smooth == pytest.approx(0.7 * plain + 0.3 * float(nats.mean(-1).sum()), rel=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = task.predict(model, batch)
        assert task.metrics(outputs)["loss"] == pytest.approx(
            plain / task.loss_count(batch), rel=0.05
        )


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_trial_is_judged_by_chrf_and_by_what_is_forgotten(
    kind: str, folders: dict[str, str], tmp_path: Path
) -> None:
    retain = rows_file(tmp_path, name="retain.jsonl")
    env = make_env(
        "text2text",
        folders[kind],
        data={**nested(tmp_path), "max_new_tokens": 4, "retain_file": retain},
        fixed={"lora_rank": 2},
        space="default",
        segment_tokens=2048,
        trial_tokens=2048,
    )
    assert (env.facts.objective_name, env.facts.maximize, env.facts.unit) == ("chrf", True, "")
    assert env.facts.lora
    env.reset(seed=0)
    *_, info = env.train({**STEP, "learning_rate": 3e-2})
    end = info["trial"].segments[-1].metrics
    assert end["loss"] < env.facts.base_metrics["loss"]
    value = end["chrf"] - 10 * end["forgetting"]
    assert env.facts.shown(info["trial"].value) == pytest.approx(value)
    env.save_weights(tmp_path / "best")
    row = json.loads((tmp_path / "best" / "samples.json").read_text())["rows"][0]
    assert {"before", "after", "reference", "score_before", "score_after"} <= set(row)


def test_without_retained_rows_an_encoder_decoder_forgets_nothing(
    folders: dict[str, str], tmp_path: Path
) -> None:
    task, _, data = task_of(folders["encoder"], **nested(tmp_path))
    assert data.retained_train is None
    assert task.forgetting_weight == 0
    _, _, data = task_of(folders["decoder"], **nested(tmp_path))
    assert data.retained_train is not None
    assert set(data.retained_train) == {"input_ids"}


def test_what_is_too_long_is_refused_or_cut(folders: dict[str, str], tmp_path: Path) -> None:
    for kind, longest in (("encoder", 8), ("decoder", 12)):
        task = TextToText(Source(**nested(tmp_path)))
        with pytest.raises(WorldError, match=f"must fit into sequence_length={longest} tokens"):
            task.load_data(folders[kind], longest)
        task = TextToText(Source(**nested(tmp_path), too_long="truncate"))
        data = task.load_data(folders[kind], longest)
        names = ("source_ids", "labels") if kind == "encoder" else ("input_ids",)
        assert all(data.train[name].shape[1] == longest for name in names)


def test_another_objective_brings_its_scale_to_the_weight_of_forgetting() -> None:
    for objective, scale, weight in (("bleu:max", 100, 10), ("loss", 1, 0.1), ("chrf", 100, 10)):
        task = TextToText()
        set_objective(task, objective, None)
        assert (task.objective_scale, task.forgetting_weight) == (scale, pytest.approx(weight))


def test_a_column_and_a_template_for_the_same_are_refused(tmp_path: Path) -> None:
    task = TextToText(Source(**nested(tmp_path), prompt_column="text"))
    with pytest.raises(WorldError, match="prompt_template: must not come with prompt_column"):
        task.load_data("embedded-t5", None)


def test_a_decoder_must_have_room_for_what_it_writes(
    folders: dict[str, str], tmp_path: Path
) -> None:
    task = TextToText(Source(**nested(tmp_path), max_new_tokens=2048))
    with pytest.raises(WorldError, match=r"max_new_tokens: must be at most 2\d\d, .* limit of 256"):
        task.load_data(folders["decoder"], None)


def test_a_long_source_leaves_a_decoder_room_for_its_target(
    folders: dict[str, str], tmp_path: Path
) -> None:
    rows = [
        {"prompt": "word " * (60 if i % 2 else 2), "completion": f"answer {i}"} for i in range(40)
    ]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Source(train_file=str(tmp_path / "long.jsonl"), too_long="truncate")
    data = TextToText(source).load_data(folders["decoder"], 32)
    whole = TextToText(replace(source, too_long="refuse")).load_data(folders["decoder"], None)
    assert data.train["input_ids"].shape[1] == 32
    assert torch.equal(data.train["learnt"].sum(1), whole.train["learnt"].sum(1))
