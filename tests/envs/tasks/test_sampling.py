"""Responses of a model with five tokens, all of which can be listed."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from hpopt_envs.errors import WorldError
from hpopt_envs.tasks.sampling import compare, draw, pad_prompts, responses

END, NEW = 4, 2
LISTED = [(END,), *((a, b) for a, b in itertools.product(range(4), range(5)))]


def llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=5, num_hidden_layers=1, initializer_range=0.5, **sizes)
    return LlamaForCausalLM(config).eval()


def gpt2(seed: int) -> GPT2LMHeadModel:  # whose positions are absolute
    torch.manual_seed(seed)
    sizes = {"n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": 16}
    config = GPT2Config(
        vocab_size=5, initializer_range=0.5, bos_token_id=0, eos_token_id=0, **sizes
    )
    return GPT2LMHeadModel(config).eval()


@torch.no_grad()
def exact(model: torch.nn.Module, prompt: list[int], response: tuple[int, ...]) -> float:
    """Log-probability of a response, a token at a time and without padding."""
    total = 0.0
    for k, token in enumerate(response):
        logits = model(torch.tensor([prompt + list(response[:k])])).logits[0, -1]
        total += float(logits.log_softmax(-1)[token])
    return total


def swapping(model: torch.nn.Module, base: torch.nn.Module):
    """What the training run's `as_base` is for: a model that is another one for a while."""

    @contextmanager
    def as_base() -> Iterator[None]:
        own = {name: p.data for name, p in model.named_parameters()}
        for name, p in model.named_parameters():
            p.data = dict(base.named_parameters())[name].data
        yield
        for name, p in model.named_parameters():
            p.data = own[name]

    return as_base


@pytest.mark.parametrize("made", [llama, gpt2])
def test_responses_are_drawn_as_often_as_they_are_likely(made) -> None:
    model, prompts = made(0), [[1], [2, 3, 0]]
    n = 3000
    torch.manual_seed(0)
    drawn = draw(model, pad_prompts(prompts * n, pad=0), NEW, [END], pad=0)
    assert drawn["length"].min() == 2  # a prompt of one token, and the end
    assert torch.equal(drawn["learnt"].sum(1), drawn["length"] - torch.tensor([1, 3]).repeat(n))
    for k, prompt in enumerate(prompts):
        assert all(ids.tolist() == prompt for ids in drawn["input_ids"][k::2, : len(prompt)])
        found = Counter(tuple(ids.tolist()) for ids in responses(drawn)[k::2])
        chances = {response: math.exp(exact(model, prompt, response)) for response in LISTED}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert set(found) <= set(LISTED)
        for response, chance in chances.items():
            error = math.sqrt(chance * (1 - chance) / n)
            assert found[response] / n == pytest.approx(chance, abs=4.5 * error + 1 / n)


@pytest.mark.parametrize("made", [llama, gpt2])
def test_likelihoods_are_those_of_single_tokens(made) -> None:
    model, base = made(0), made(1)
    prompts = [[1], [2, 3, 0], [0, 0]] * 4
    torch.manual_seed(0)
    drawn = draw(model, pad_prompts(prompts, pad=0), NEW, [END], pad=0)
    likely = compare(model, drawn, swapping(model, base))
    for row, response in enumerate(responses(drawn)):
        asked = prompts[row], tuple(response.tolist())
        assert float(likely["log_policy"][row]) == pytest.approx(exact(model, *asked), abs=1e-5)
        assert float(likely["log_reference"][row]) == pytest.approx(exact(base, *asked), abs=1e-5)


def test_the_divergence_is_that_of_whole_responses() -> None:
    model, base, prompt, n = llama(0), llama(1), [1, 2], 2000
    whole = sum(
        math.exp(exact(model, prompt, x)) * (exact(model, prompt, x) - exact(base, prompt, x))
        for x in LISTED
    )
    torch.manual_seed(0)
    drawn = draw(model, pad_prompts([prompt] * n, pad=0), NEW, [END], pad=0)
    likely = compare(model, drawn, swapping(model, base))
    summed, crude = likely["divergence"], likely["log_policy"] - likely["log_reference"]
    assert float(summed.mean()) == pytest.approx(whole, abs=4 * float(summed.std()) / math.sqrt(n))
    assert summed.std() < 0.5 * crude.std()
    assert summed.min() >= 0


def test_a_models_own_settings_change_no_draw() -> None:
    plain, opinionated = llama(0), llama(0)
    opinionated.generation_config.update(
        temperature=0.1, top_k=1, repetition_penalty=5.0, do_sample=False, num_beams=3
    )
    drawn = []
    for model in (plain, opinionated):
        torch.manual_seed(0)
        drawn.append(draw(model, pad_prompts([[1]] * 50, pad=0), NEW, [END], pad=0)["input_ids"])
    assert torch.equal(*drawn)
    assert len(drawn[0].unique(dim=0)) > 5


def test_a_model_that_cannot_write_is_refused() -> None:
    with pytest.raises(WorldError, match=r"generate\(\), but Linear has none"):
        draw(torch.nn.Linear(1, 1), pad_prompts([[1]], pad=0), NEW, [END], pad=0)
