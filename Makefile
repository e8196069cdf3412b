# `make help` lists the targets. `make test` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# A newer Python to run the tests on as well; skipped, saying so, where there is none. Without
# torch, so that what has to work without it is seen to.
NEWEST := $(firstword $(foreach p,$(shell command -v python3.13) \
	$(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13),$(if $(shell $(p) -c 1 2>/dev/null && echo yes),$(p))))
VENV_NEWEST := .venv-3.13

.PHONY: help quickstart test lint floors types tests tests-newest hooks clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: $(VENV)/installed ## environment, install, demonstration (offline, no key)
	$(BIN)/harness demo

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python $(PIP) --editable '.[dev,torch]'
	touch $@

test: lint floors types tests tests-newest ## everything that CI runs

lint: $(VENV)/installed-dev ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

floors: $(VENV)/installed-dev ## import-linter: rooms import only from floors below, no circles
	$(BIN)/lint-imports

types: $(VENV)/installed-dev ## mypy, strict
	$(BIN)/mypy

tests: $(VENV)/installed-dev ## pytest, all tests
	$(BIN)/python -m pytest

tests-newest: ## pytest on Python 3.13 without torch, where there is one
ifeq ($(NEWEST),)
	@echo "no Python 3.13 found: its run of the tests is skipped"
else
	test -e $(VENV_NEWEST)/bin/python || $(NEWEST) -m venv $(VENV_NEWEST)
	$(VENV_NEWEST)/bin/python $(PIP) --editable '.[dev]'
	$(VENV_NEWEST)/bin/python -m pytest -m "not slow"
endif

hooks: $(VENV)/installed-dev ## run lint, floors and types before every commit
	$(BIN)/python $(PIP) pre-commit
	$(BIN)/pre-commit install

clean: ## remove environments, builds and caches
	rm -rf $(VENV) $(VENV_NEWEST) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
