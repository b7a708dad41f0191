# Needs Python 3.11 or newer and make; everything else is installed into .venv from requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench scorecard fuzz soak format lock compose-secrets clean

help:
	@echo "make demo   run the main job end to end on generated data and show what happened"
	@echo "make test   run the test suite"
	@echo "make lint   check style, types and the direction of imports"
	@echo "make bench  measure against unprotected references, side by side"
	@echo "make scorecard   score what the content filter finds and misses, and compare with the last score"
	@echo "make fuzz   change inputs of the decoders that face the network for a minute each"
	@echo "make soak   run the long tests that make test leaves out"
	@echo "make compose-secrets   make the secrets for docker-compose.yml, once"

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, or set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY)
	$(BIN)/python examples/demo.py

# Tests wait for other processes a good part of the time: three workers keep two cores busy.
test: $(READY)
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not soak"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@! grep -nE 'https?://|file:' requirements*.lock || { echo "a lock names a host or a path"; exit 1; }

bench: $(READY)
	$(BIN)/python -m bench

scorecard: $(READY)
	$(BIN)/python -m bench.scorecard

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz.decoders 60

soak: $(READY)
	$(BIN)/python -m pytest -m soak

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Resolves pyproject.toml anew; needs uv on the PATH. What the image is made of is taken from what is tested.
RESOLVE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
IMAGE_EXTRAS := gateway ingest otlp s3 postgres openbao
lock:
	$(RESOLVE) pyproject.toml --all-extras --group dev --output-file requirements.lock
	$(RESOLVE) pyproject.toml $(IMAGE_EXTRAS:%=--extra %) --constraint requirements.lock --output-file requirements-runtime.lock
	$(RESOLVE) --group build --constraint requirements.lock --output-file requirements-build.lock

# Callers reach the gateway by these names, beside localhost: make compose-secrets NAMES="gateway.example.org"
compose-secrets: $(READY)
	$(BIN)/lake dev secrets --to secrets --environment .env $(NAMES:%=--name %)

clean:
	rm -rf $(VENV) demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
