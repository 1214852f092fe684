# asrd: `make run` hears a recording, `make test` passes the tests. Both set up .venv first.

PYTHON ?= python3
FILE ?= models/en-small/example.wav
TORCH ?= torch==2.13.0
TORCHAUDIO ?= torchaudio==2.11.0
# Where torch comes from. Empty: pip's own configuration, and if that has no CPU build, PyTorch's.
TORCH_INDEX ?=
CPU_INDEX = https://download.pytorch.org/whl/cpu

BIN = .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
# On Linux only the builds marked +cpu are free of CUDA; elsewhere there are no others.
CPU_BUILD = $(if $(filter Linux,$(shell uname -s)),+cpu,)

.PHONY: run test lint bench clean setup

run: .venv/run.stamp
	@$(BIN)/asrd transcribe --partials "$(FILE)"

test: .venv/dev.stamp
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: .venv/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: .venv/dev.stamp
	@$(BIN)/python -m tests.bench

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

setup: .venv/dev.stamp

.venv/torch.stamp:
	$(PYTHON) -m venv .venv
ifneq ($(TORCH_INDEX),)
	$(PIP) install --quiet --index-url "$(TORCH_INDEX)" "$(TORCH)"
else
	$(PIP) install --quiet "$(TORCH)$(CPU_BUILD)" || \
	  $(PIP) install --quiet --index-url $(CPU_INDEX) "$(TORCH)"
endif
	$(PIP) install --quiet --no-deps "$(TORCHAUDIO)"
	@touch $@

.venv/run.stamp: .venv/torch.stamp pyproject.toml
	$(PIP) install --quiet --editable .
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	$(PIP) install --quiet --editable ".[dev]"
	@touch $@
