"""Where base models come from: shipped here, `from_pretrained`, or a function of the user's."""

import hashlib
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ..errors import WorldError
from ..references import call, import_attribute, is_reference

_FOLDER = Path(__file__).parents[1] / "embedded"
# By source: a decoder that continues text, and an encoder-decoder that rewrites it.
EMBEDDED = {"embedded": _FOLDER / "base", "embedded-t5": _FOLDER / "t5"}
_NETWORK_TIMEOUT = 10.0  # seconds
_trusts = ContextVar("_trusts", default=False)


def trust_remote_code(trusts: bool) -> None:
    """Say whether code that a model brings is run, from now on and in this thread."""
    _trusts.set(trusts)


def load_model(
    source: str, seed: int, auto: str = "AutoModelForCausalLM", **options: Any
) -> torch.nn.Module:
    """Load a model of transformers', or whatever a factory makes, in float32 on the CPU.

    Args:
        source: a name of `EMBEDDED`; a folder or a Hugging Face id with safetensors weights; or
            "module:factory", a function without arguments in a module of the working directory.
        seed: of the weights that are drawn at random; the global generator stays as it was.
        auto: the class of transformers whose `from_pretrained` loads it.
        options: of that, such as `num_labels`.

    Raises:
        WorldError: there is no such model, or it can't be loaded or reached.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if is_reference(source):
            model = call(import_attribute(source), source)
        else:
            model = _from_pretrained(
                auto,
                source,
                dtype=torch.float32,
                use_safetensors=True,
                # The look for an adapter heeds this alone.
                adapter_kwargs={"local_files_only": _is_local(source)},
                **options,
            )
    if not isinstance(model, torch.nn.Module):
        raise WorldError(f"{source} must return a torch.nn.Module, but returned {model!r:.100}")
    return model


def save_model(model: torch.nn.Module, folder: Path, tokenizer: Any = None) -> None:
    """Write a model's weights: in Hugging Face's format where it can, else safetensors alone.

    Args:
        model: to be written.
        folder: made where there is none.
        tokenizer: to be written beside it; None for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    if hasattr(model, "peft_config"):
        _save_adapter(model, folder)
        return
    save_pretrained: Any = getattr(model, "save_pretrained", None)
    if save_pretrained is not None:
        with _quiet():
            save_pretrained(folder)
    else:
        safetensors.torch.save_model(model, str(folder / "model.safetensors"))


def _save_adapter(model: Any, folder: Path) -> None:
    """Write the active adapter; peft puts one that isn't called "default" into a folder below."""
    name = model.active_adapter
    with _quiet():
        model.save_pretrained(folder, selected_adapters=[name])
    for file in (folder / name).iterdir():
        file.replace(folder / file.name)
    (folder / name).rmdir()


def load_tokenizer(source: str) -> Any:
    """Load the tokenizer of a model of `load_model`; a factory's model has the embedded one's.

    Raises:
        WorldError: there is none, or it can't be loaded or reached.
    """
    return _from_pretrained("AutoTokenizer", "embedded" if is_reference(source) else source)


def pad_token(tokenizer: Any, known: int | None = None) -> int:
    """Return a token to pad with: the tokenizer's own, else its end token, else its first.

    Args:
        tokenizer: of the model.
        known: see `known_tokens`; what the model doesn't know is left out.
    """
    tokens = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(int(t) for t in tokens if t is not None and (known is None or t < known))


def known_tokens(source: str, tokenizer: Any) -> int | None:
    """Return how many tokens a model of `load_model` has embeddings for, if its tokenizer has more.

    None where it has not, or where a model is a factory's, which doesn't say.
    """
    if is_reference(source):
        return None
    config = _from_pretrained("AutoConfig", source).get_text_config()
    known: int | None = getattr(config, "vocab_size", None)
    return known if known is not None and known < len(tokenizer) else None


def max_positions(source: str) -> int | None:
    """Return the longest sequence that a model of `load_model` takes; None where it doesn't say."""
    if is_reference(source):
        return None
    config = _from_pretrained("AutoConfig", source).get_text_config()
    limit: int | None = getattr(config, "max_position_embeddings", None)
    return limit


def is_encoder_decoder(source: str) -> bool:
    """Return whether a model of `load_model` has an encoder and a decoder; no factory's has."""
    if is_reference(source):
        return False
    return bool(_from_pretrained("AutoConfig", source).is_encoder_decoder)


def model_hash(model: torch.nn.Module) -> str:
    """Return the sha256 of the names, types, shapes and bytes of a model's weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """Return what a tensor holds, in order, whatever its type, layout and device."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def _from_pretrained(loader: str, source: str, **options: Any) -> Any:
    import transformers

    place = str(EMBEDDED.get(source, source))
    try:
        with _quiet():
            return getattr(transformers, loader).from_pretrained(
                place,
                local_files_only=_is_local(source),
                trust_remote_code=_trusts.get(),  # said in any case: else it asks whoever is there
                **options,
            )
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise WorldError(
                f"model: {source!r} brings code of its own, which is run only where "
                "trust_remote_code (--trust-remote-code) says so"
            ) from error
        raise WorldError(
            "model: must be 'embedded', a folder or a Hugging Face id with safetensors weights, "
            f"or 'module:factory', but {source!r} can't be loaded: {_first_line(error)}"
        ) from error


@lru_cache
def _is_local(source: str) -> bool:
    """Return whether folders and the cache are all there is: asked once, without retries."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if source in EMBEDDED or Path(source).is_dir():
        return True
    try:
        HfApi().model_info(source, timeout=_NETWORK_TIMEOUT)
    except (HfHubHTTPError, HFValidationError):
        return False  # reachable, or no id at all: the loader says what is wrong
    except Exception:  # unreachable, in whichever way the network library says so
        return True
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loading libraries' progress bars, logs and warnings."""
    from transformers.utils import logging as library_logging

    logging: Any = library_logging  # which has no types
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.ERROR)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def length_limit(model_source: str, tokenizer: Any, asked: int | None, least: int) -> int | None:
    """Return the longest sequence that a model takes, in tokens; None where it doesn't say.

    Args:
        model_source: of the model.
        tokenizer: of the model; some models take less than they have positions, and only their
            tokenizers say so.
        asked: the setting `sequence_length`.
        least: that it must be.

    Raises:
        WorldError: that length is too short, or more than the model takes.
    """
    limit = max_positions(model_source)
    if limit is not None:
        limit = min(limit, tokenizer.model_max_length)
    if asked is not None and not least <= asked <= (limit or math.inf):
        raise WorldError(
            f"sequence_length: must be from {least} to {limit or 'any number'} for model "
            f"{model_source}, but got {asked}"
        )
    return limit
