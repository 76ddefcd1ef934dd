"""Trains the embedded encoder-decoder to format for locales: python scripts/train_t5.py.

About seven minutes on one core. Writes safetensors, configuration and tokenizer, in Hugging
Face's format, to envs/hpopt_envs/embedded/t5. Only training pairs of the pretrained locales are
learnt from, and the weights that are kept are those of the lowest loss on their validation pairs.
"""

import argparse
import random
from collections.abc import Iterable
from typing import Any

import sacrebleu
import torch
from pretraining import pretrain
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from hpopt_envs.data.locale_formats import NEW, PRETRAINED, Pair, locale_pairs
from hpopt_envs.models import EMBEDDED, save_model

FOLDER = EMBEDDED["embedded-t5"]
VOCABULARY = 1024
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"  # ids 0, 1, 2, as T5's
SIZES = {"train": 20_000, "validation": 128, "test": 0}  # of each locale
MAX_NEW_TOKENS = 64
BATCH_SIZE = 64
PEAK_LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 0.01


def train_tokenizer(pairs: list[Pair]) -> PreTrainedTokenizerFast:
    """A byte-level BPE, which has the characters of every locale.

    Digits go by twos. One by one they repeat so often that the model, which has no positions of
    the source, loses its place when it copies them; by threes most of them would be rare.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d{1,2}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, UNKNOWN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for pair in pairs for text in pair), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, tokenizer.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> Any:
    torch.manual_seed(0)
    config: Any = T5Config(
        vocab_size=VOCABULARY,
        d_model=128,
        d_kv=32,
        d_ff=256,
        num_layers=3,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config.decoder_start_token_id = tokenizer.pad_token_id
    model: Any = T5ForConditionalGeneration(config)
    model.generation_config.max_new_tokens = MAX_NEW_TOKENS
    return model


def encode(tokenizer: PreTrainedTokenizerFast, pairs: Iterable[Pair]) -> dict[str, torch.Tensor]:
    """What the model takes; labels are -100 where there is padding."""
    sources, targets = zip(*pairs, strict=True)
    batch = tokenizer(list(sources), padding=True, return_tensors="pt")
    labels = tokenizer(list(targets), padding=True, return_tensors="pt")
    masked = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "labels": masked,
    }


def train(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    splits: dict[str, list[Pair]],
    steps: int,
) -> None:
    """Leaves the weights of the lowest validation loss in the model."""
    draw = random.Random(1)

    def batch_loss(_: int) -> torch.Tensor:
        loss: torch.Tensor = model(
            **encode(tokenizer, draw.sample(splits["train"], BATCH_SIZE))
        ).loss
        return loss

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY
    )
    validation = splits["validation"]
    pretrain(model, optimizer, batch_loss, lambda: evaluate(model, tokenizer, validation), steps)


@torch.no_grad()
def evaluate(model: Any, tokenizer: PreTrainedTokenizerFast, pairs: list[Pair]) -> float:
    """Loss in nats per token of the targets."""
    return float(model(**encode(tokenizer, pairs)).loss)


def write(model: Any, tokenizer: PreTrainedTokenizerFast, pairs: list[Pair]) -> list[str]:
    """What the model makes of the sources, greedily."""
    batch = encode(tokenizer, pairs)
    del batch["labels"]
    texts: list[str] = tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True)
    return texts


def report(model: Any, tokenizer: PreTrainedTokenizerFast, locale: str) -> None:
    pairs = locale_pairs((locale,), SIZES)["validation"]
    written, references = write(model, tokenizer, pairs), [target for _, target in pairs]
    print(
        f"{locale}: {evaluate(model, tokenizer, pairs):.3f} nats/token, "
        f"chrF {sacrebleu.corpus_chrf(written, [references]).score:.1f}, "
        f"BLEU {sacrebleu.corpus_bleu(written, [references]).score:.1f} on validation; "
        f"for example {pairs[0][0]!r} -> {written[0]!r}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2400, help="optimizer steps (default: 2400)")
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    splits = locale_pairs(PRETRAINED, SIZES)
    tokenizer = train_tokenizer(splits["train"])
    tokenizer.save_pretrained(FOLDER)
    model = new_model(tokenizer)
    longest = [
        max(map(len, tokenizer([pair[side] for pair in splits["train"]])["input_ids"]))
        for side in (0, 1)
    ]
    print(
        f"{model.num_parameters():,} parameters, {len(splits['train']):,} training pairs of up to "
        f"{longest[0]} and {longest[1]} tokens",
        flush=True,
    )
    train(model, tokenizer, splits, steps)
    save_model(model, FOLDER)
    for locale in (*PRETRAINED, NEW):
        report(model, tokenizer, locale)


if __name__ == "__main__":
    main()
