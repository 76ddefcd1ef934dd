"""Trains the embedded model on prose, and its tokenizer: python scripts/train_base_model.py.

About ten minutes on one core. Writes safetensors, configuration and tokenizer, in Hugging Face's
format, to envs/hpopt_envs/embedded/base. Only training splits are read, except that the weights
that are kept are those of the lowest loss on the validation split of prose.
"""

import argparse

import torch
from pretraining import pretrain
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hpopt_envs.data.corpus import Corpus, Domain, read_corpus
from hpopt_envs.models import EMBEDDED, save_model
from hpopt_envs.tasks.data import Split
from hpopt_envs.tasks.lm import LanguageModeling
from hpopt_envs.tasks.lm_data import cut, tokenize

VOCABULARY = 1024
END_OF_TEXT = "<|endoftext|>"
MAX_POSITIONS = 256
LENGTHS = (64, MAX_POSITIONS)  # tokens of a sequence, taken by turns
BATCH_TOKENS = 2048
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
TASK = LanguageModeling()
FOLDER = EMBEDDED["embedded"]


def train_tokenizer(corpus: Corpus) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the training splits of both domains."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [*corpus.prose.train.values(), *corpus.code.train.values()]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def new_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def train(model: LlamaForCausalLM, ids: torch.Tensor, validation: Split, steps: int) -> None:
    """Leaves the weights of the lowest validation loss in the model."""
    generator = torch.Generator().manual_seed(1)

    def batch_loss(step: int) -> torch.Tensor:
        batch = draw(ids, LENGTHS[step % len(LENGTHS)], generator)
        return TASK.loss_sum(model, batch) / TASK.loss_count(batch)

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY
    )
    pretrain(model, optimizer, batch_loss, lambda: evaluate(model, validation), steps)


def draw(ids: torch.Tensor, length: int, generator: torch.Generator) -> Split:
    """Windows from anywhere: (BATCH_TOKENS / length, length)."""
    starts = torch.randint(len(ids) - length, (BATCH_TOKENS // length,), generator=generator)
    return {"input_ids": ids[starts[:, None] + torch.arange(length)]}


@torch.no_grad()
def evaluate(model: LlamaForCausalLM, split: Split) -> float:
    """Loss in nats per token."""
    batches = torch.split(split["input_ids"], 64)
    outputs = [TASK.predict(model, {"input_ids": batch}) for batch in batches]
    return TASK.metrics({k: torch.cat([o[k] for o in outputs]) for k in outputs[0]})["loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000, help="optimizer steps (default: 4000)")
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    corpus = read_corpus(train_characters=10**9)
    tokenizer, model = train_tokenizer(corpus), new_model()
    tokenizer.save_pretrained(FOLDER)

    def validation(domain: Domain) -> Split:
        return cut(tokenize(tokenizer, list(domain.validation.values())), LENGTHS[0])

    ids = tokenize(tokenizer, list(corpus.prose.train.values()))
    print(f"{model.num_parameters():,} parameters, {len(ids):,} training tokens", flush=True)
    train(model, ids, validation(corpus.prose), steps)
    save_model(model, FOLDER)
    for name, domain in (("prose", corpus.prose), ("code", corpus.code)):
        print(f"{name}: {evaluate(model, validation(domain)):.4f} nats/token on validation")
    print(f"corpus {corpus.hash}")


if __name__ == "__main__":
    main()
