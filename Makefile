# One door for everything: a person and CI call the same targets. Nothing has to be set up but Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt format lint types imports docs wheel golden conformance bench clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1|/' | column -t -s '|'

setup: $(STAMP) ## make .venv with everything (uv when it is there, else venv and pip)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "obskit needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@if command -v uv >/dev/null; then \
	  { test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV); } && \
	  uv pip install --quiet --python $(BIN)/python --editable '.[watch,dns-srv]' --group dev; \
	else \
	  { test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); } && \
	  $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && \
	  $(BIN)/python -m pip install --quiet --editable '.[watch,dns-srv]' --group dev; \
	fi
	@touch $@

demo: setup ## the main job, end to end, in a minute: no account, no token
	@$(BIN)/python examples/demo.py

test: setup ## every test
	@$(BIN)/pytest

check: format lint types imports wheel ## what CI checks beside the tests

fmt: setup ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

format: setup
	@$(BIN)/ruff format --check .

lint: setup
	@$(BIN)/ruff check .

types: setup
	@$(BIN)/mypy

imports: setup
	@$(BIN)/lint-imports

wheel: setup ## build the wheel and test it away from the checkout
	@$(BIN)/python tests/wheel.py

golden: setup ## rewrite the golden files; read the diff
	@OBSKIT_GOLDEN=1 $(BIN)/pytest -q tests

conformance: setup ## run the cases in ../shared/conformance, when they are there
	@if ls ../shared/conformance/promql/*.jsonl >/dev/null 2>&1; then \
	  $(BIN)/python -m tests.conformance.promql --quiet ../shared/conformance/promql/*.jsonl; \
	else echo "no cases in ../shared/conformance"; fi

bench: setup ## measure latency and footprint
	@$(BIN)/python bench/latency.py && $(BIN)/python bench/footprint.py

clean: ## remove what the targets above made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
