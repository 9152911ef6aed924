# One door for everything: a person and CI call the same targets. Nothing has to be set up but Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BENCH ?= --small
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
	  uv pip install --quiet --python $(BIN)/python --editable '.[watch,dns-srv,postgres]' --group dev; \
	else \
	  { test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); } && \
	  $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && \
	  $(BIN)/python -m pip install --quiet --editable '.[watch,dns-srv,postgres]' --group dev; \
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

CASES ?= ../shared/conformance
PROMQL_CASES = $(wildcard $(CASES)/promql/*.jsonl)
LOGQL_CASES = $(wildcard $(CASES)/logql/*.jsonl tests/logql/*.logqltest tests/logql/cases/*)

conformance: setup ## run the cases of PromQL and LogQL that are there (in CASES=../shared/conformance)
	@failed=0; \
	$(if $(PROMQL_CASES),$(BIN)/python -m tests.conformance.promql --quiet $(PROMQL_CASES) || failed=1,echo "no PromQL cases in $(CASES)"); \
	$(if $(LOGQL_CASES),$(BIN)/python -m tests.conformance.logql $(LOGQL_CASES) || failed=1,echo "no LogQL cases in $(CASES)"); \
	exit $$failed

bench: setup ## measure latency, footprint, PromQL and rules beside Prometheus (BENCH= for the whole of it), dispatch beside Alertmanager
	@failed=0; \
	$(BIN)/python bench/latency.py || failed=1; \
	$(BIN)/python bench/footprint.py || failed=1; \
	$(BIN)/python -m bench.promql $(BENCH) || failed=1; \
	$(BIN)/python -m bench.dispatch --small || failed=1; \
	exit $$failed

clean: ## remove what the targets above made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
