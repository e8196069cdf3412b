# `make quickstart`: environment, install, demonstration. `make test`: what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# A newer Python to run the tests on as well; skipped, saying so, where there is none. Without
# torch, so that what has to work without it is seen to.
NEWEST := $(firstword $(foreach p,$(shell command -v python3.13) \
	$(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13),$(if $(shell $(p) -c 1 2>/dev/null && echo yes),$(p))))
VENV_NEWEST := .venv-3.13

.PHONY: quickstart test lint types tests tests-newest clean

quickstart: $(VENV)/installed
	$(BIN)/harness demo

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python $(PIP) --editable '.[dev,torch]'
	touch $@

test: lint types tests tests-newest

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/installed-dev
	$(BIN)/mypy

tests: $(VENV)/installed-dev
	$(BIN)/python -m pytest

tests-newest:
ifeq ($(NEWEST),)
	@echo "no Python 3.13 found: its run of the tests is skipped"
else
	test -e $(VENV_NEWEST)/bin/python || $(NEWEST) -m venv $(VENV_NEWEST)
	$(VENV_NEWEST)/bin/python $(PIP) --editable '.[dev]'
	$(VENV_NEWEST)/bin/python -m pytest -m "not slow"
endif

clean:
	rm -rf $(VENV) $(VENV_NEWEST) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
