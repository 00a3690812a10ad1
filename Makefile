# Everything a newcomer needs: `make demo` and `make test` set up what they use by themselves.
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
DEMO ?= demo

.PHONY: help setup demo check test test-fast test-recipes test-lowest format bench default-model thesis backbones faults docs clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

# The versions in constraints.txt are those that CI tests; pyproject.toml states what wsiseg accepts.
$(VENV)/wsiseg.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "wsiseg needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "Installing wsiseg and PyTorch into $(VENV): some minutes, on Linux about 6 GB."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $@

setup: $(VENV)/wsiseg.ready  ## a virtual environment with wsiseg and its test tools

demo: setup  ## fetch a real slide, find its nuclei, say where the results lie
	@$(BIN)/wsiseg sample "$(DEMO)"
	@$(BIN)/wsiseg run "$(DEMO)/CMU-1-Small-Region.svs" -o "$(DEMO)/CMU-1-run"

check: setup  ## lint, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup  ## all tests
	$(BIN)/python -m pytest

test-fast: setup  ## the tests that take no real slide and no network
	$(BIN)/python -m pytest -m "not slow"

faults: setup  ## inject every fault at every point, and write the table in docs/reliability.md (hours; ARGS='--share 0.1')
	PYTHONPATH=tests $(BIN)/python -m faults $(ARGS)

test-recipes: setup  ## the tests of workflows/ with the engines that they are for
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,recipes]"
	$(BIN)/python -m pytest tests/test_workflows_*.py

test-lowest:  ## all tests with the oldest versions that pyproject.toml allows
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --requirement tests/lowest.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --editable ".[test]" --constraint tests/lowest.txt
	$(VENV)-lowest/bin/python -m pytest

docs: setup  ## the documentation site, in build/site
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python -m mkdocs build

format: setup  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what make made
	rm -rf $(VENV) $(VENV)-lowest demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

default-model: setup  ## train a shipped model anew: make default-model DATA=folder OUT=folder [MODEL=nuclei-050] (hours on a CPU)
	$(BIN)/python workflows/default_model/build.py "$(or $(MODEL),nuclei-025)" "$(DATA)" "$(OUT)"

thesis: setup  ## repeat the thesis: make thesis NUCLS=folder OUT=folder (ARGS=--quick for a trial)
	$(BIN)/python workflows/thesis/run.py "$(NUCLS)" "$(OUT)" $(ARGS)

backbones: setup  ## compare encoders: make backbones DATA=folder OUT=folder (an afternoon on a CPU)
	$(BIN)/python workflows/backbones/run.py "$(DATA)" "$(OUT)" $(ARGS)
