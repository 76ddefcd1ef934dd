"""Tasks and models that train in milliseconds, by name: "tests.envs.tiny:Words"."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from hpopt_envs import Data, Split
from hpopt_envs.tasks import ParametricLoss, Reference
from hpopt_search_spaces import Value

HERE = "tests.envs.tiny"
VOCABULARY = 32
LONGEST = 16  # tokens
BLOCKS = 4


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM  # seconds that others needn't wait

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=BLOCKS,
        num_attention_heads=2,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def half_frozen() -> nn.Module:
    model = llama()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(("model.embed", "model.layers.0.", "lm_head")))
    return model


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=BLOCKS,
        num_attention_heads=2,
        max_position_embeddings=LONGEST,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def t5() -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config)


class Bigrams(nn.Module):
    """Logits of the next token, from this one alone; nothing of transformers'."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.0)
        self.table = nn.Linear(VOCABULARY, VOCABULARY)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.table(self.dropout(one_hot(ids, VOCABULARY).float()))
        return logits


class Wide(Bigrams):
    """Bigrams with half a megabyte a token that does nothing."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids).unsqueeze(2).repeat(1, 1, 4096, 1).mean(2)


class Words(Reference):
    """Predicts the next of words that were drawn at random; what is retained is longer."""

    name = "words"
    default_model = f"{HERE}:llama"
    adapter_type = "CAUSAL_LM"
    shortest = longest = 8
    shortest_retained = LONGEST

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        generator = torch.Generator().manual_seed(0)

        def split(size: int, shortest: int, longest: int) -> Split:
            ids = torch.randint(VOCABULARY // 2, (size, longest), generator=generator)
            length = torch.randint(shortest, longest + 1, (size,), generator=generator)
            return {"input_ids": ids, "length": length.sort().values}

        own = [split(size, self.shortest, self.longest) for size in (96, 64, 64)]
        retained = [split(size, self.shortest_retained, LONGEST) for size in (48, 64, 64)]
        return Data(*own, *retained)

    def example_tokens(self, split: Split) -> torch.Tensor:
        return split["length"]

    def loss_count(self, batch: Split) -> int:
        return int((batch["length"] - 1).sum())

    def logits(self, model: nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        ids = batch["input_ids"][:, : int(batch["length"].max())]
        output = model(ids)
        return getattr(output, "logits", output), _predicts(batch)

    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        return self._losses(model, batch).sum()

    def predict(self, model: nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        return {"loss": self._losses(model, batch).sum(1), "count": batch["length"] - 1}

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        return {"loss": float(outputs["loss"].double().sum() / outputs["count"].sum())}

    def _losses(self, model: nn.Module, batch: Split) -> torch.Tensor:
        """Nats of each token, 0 where nothing is predicted: (n, longest of the batch)."""
        logits, mask = self.logits(model, batch)
        following = batch["input_ids"][:, : mask.shape[1]].roll(-1, 1)
        losses = cross_entropy(logits.float().transpose(1, 2), following, reduction="none")
        return losses * mask


def _predicts(batch: Split) -> torch.Tensor:
    """Which positions have a token to predict: (n, longest of the batch)."""
    return torch.arange(int(batch["length"].max())) < batch["length"][:, None] - 1


class RaggedWords(Words):
    """Sentences of lengths of their own, the shorter ones first."""

    name = "ragged_words"
    shortest = shortest_retained = 2


class Tempered(ParametricLoss, Words):
    """A loss with hyperparameters of its own."""

    name = "tempered"
    hyperparameters = ("label_smoothing", "temperature")

    def loss_sum_with(
        self, model: nn.Module, batch: Split, hyperparameters: Mapping[str, Value]
    ) -> torch.Tensor:
        return self._losses(model, batch).sum() * float(hyperparameters.get("temperature", 1.0))


class Parity(Reference):
    """Whether the sum of words is odd, for a classifier with a head; it retains nothing."""

    name = "parity"
    default_model = f"{HERE}:bert"
    adapter_type = "SEQ_CLS"

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        generator = torch.Generator().manual_seed(0)

        def split(size: int) -> Split:
            ids = torch.randint(VOCABULARY, (size, 8), generator=generator)
            return {"input_ids": ids, "label": ids.sum(1) % 2}

        return Data(split(96), split(64), split(64))

    def logits(self, model: nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        logits = model(batch["input_ids"]).logits
        return logits, torch.ones(len(logits), dtype=torch.bool)

    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        return cross_entropy(self.logits(model, batch)[0], batch["label"], reduction="sum")

    def predict(self, model: nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        logits, _ = self.logits(model, batch)
        return {"loss": cross_entropy(logits, batch["label"], reduction="none")}

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        return {"loss": float(outputs["loss"].double().mean())}
