# Rollcall: `make run` starts it, `make test` tests it. Both make what they need.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCKS  := config/locks
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: run test lint types unit agreement bench docs lock clean help

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.run-ready ## Start the service on this machine
	@$(BIN)/rollcall serve $(ARGS)

test: lint types unit ## Lint, check types, run all tests

lint: $(VENV)/.dev-ready ## Style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev-ready ## Types
	@$(BIN)/mypy

unit: $(VENV)/.dev-ready ## All tests, on real models, a real Ray and a real gallery
	@$(BIN)/rollcall packs prepare
	@$(BIN)/pytest tests/unit --numprocesses 2 $(ARGS)
	@$(BIN)/pytest tests/graph tests/http tests/browser $(ARGS)

agreement: $(VENV)/.dev-ready ## The service against the pack in process, on every LFW picture at hand
	@$(BIN)/rollcall packs prepare
	@ROLLCALL_TEST_ALL_PICTURES=1 $(BIN)/pytest tests/http/test_agreement.py $(ARGS)

bench: $(VENV)/.dev-ready ## CPU per request through the service and in process, rates and latencies
	@$(BIN)/rollcall packs prepare
	@$(BIN)/python -m loadtest.bench $(ARGS)

docs: $(VENV)/.dev-ready ## Write the pages that are made from code
	@$(BIN)/python docs/generate.py

lock: ## Resolve the dependencies anew into config/locks (needs uv)
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --upgrade --extra build pyproject.toml -o $(LOCKS)/requirements.txt
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --upgrade --extra build --extra dev -c $(LOCKS)/requirements.txt pyproject.toml \
		-o $(LOCKS)/requirements-dev.txt

clean: ## Remove the environment and what tests wrote; data stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache bench-results

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Rollcall needs Python 3.10 or newer; say which: make run PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run-ready: $(LOCKS)/requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing the locked dependencies (once; a minute or two)"
	@$(PIP) install --quiet --require-hashes -r $(LOCKS)/requirements.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev-ready: $(LOCKS)/requirements-dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing the locked dependencies, those for tests too (once; a minute or two)"
	@$(PIP) install --quiet --require-hashes -r $(LOCKS)/requirements-dev.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.run-ready
