# Two commands are enough: `make run` and `make test`. Each makes what it needs, says so, and may be repeated.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
KILLS  ?= 500
ORDERS ?= 500
# Tests run side by side, file by file; a broker that is named is one for all, so there they run one after another.
JOBS   ?= $(if $(COUNTERFOIL_TEST_KAFKA),0,2)

.PHONY: help run test lint bench demo crash drill contracts lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): requirements.lock pyproject.toml
	@echo "· making the environment in $(VENV) (pinned, hashed)"
	@$(PYTHON) -c 'import sys; sys.exit("Counterfoil needs Python 3.11 or later, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: $(STAMP) ## start everything: an embedded PostgreSQL, the API, the projectors
	@echo "· starting Counterfoil (stop it with Ctrl-C)"
	@exec $(BIN)/counterfoil serve

test: $(STAMP) lint ## every check and every test
	@echo "· running the tests"
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(PYTEST)

lint: $(STAMP)
	@echo "· ruff"; $(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@echo "· mypy --strict"; $(BIN)/mypy --no-error-summary
	@echo "· import-linter"; $(BIN)/lint-imports --no-cache > $(VENV)/import-linter.log || { cat $(VENV)/import-linter.log; exit 1; }

bench: $(STAMP) ## measure, print the table, append to bench-results.jsonl
	@$(BIN)/counterfoil bench

demo: $(STAMP) ## a real Broadway week through the HTTP API
	@$(BIN)/counterfoil demo

crash: $(STAMP) ## the crash test at length: make crash KILLS=500
	@COUNTERFOIL_CRASH_KILLS=$(KILLS) $(BIN)/python -m pytest tests/journeys/test_crash.py -s

drill: $(STAMP) ## back up, destroy, restore, compare: make drill ORDERS=500
	@$(BIN)/python -m tests.journeys.drill $(ORDERS)

contracts: $(STAMP) ## compile the contracts, write the artifacts
	@$(BIN)/python -m tests.contracts.building

lock: ## resolve the dependencies again
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url --universal \
		--python-version 3.11 --extra dev pyproject.toml -o requirements.lock

clean: ## remove the environment and caches (never your data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
