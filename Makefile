# Every target makes the virtual environment that it needs. Nothing is installed outside this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= test,lint
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The CPU build of torch has a tenth of the size of the default build. If its index cannot be reached, PyPI's build is used.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: help install demo test lint docs site dist clean
help:
	@echo "make demo     all steps on two chromosomes of yeast -> demo/ (about four minutes)"
	@echo "make test     the tests (ORDER='--order 7': in a random order of that seed)"
	@echo "make lint     ruff and pyright"
	@echo "make docs     write docs/cli.md from the help texts and docs/api.md from the docstrings"
	@echo "make site     the documentation as a site, written to site/ (EXTRAS=site)"
	@echo "make dist     the wheel and the source archive -> dist/"
	@echo "make install  only the virtual environment ($(VENV))"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "== virtual environment in $(VENV) (torch for the CPU; some minutes, 1.5 GB)"
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13) and "sae-tracks needs Python 3.11 or 3.12: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --retries 0 --no-deps --constraint constraints.txt --extra-index-url $(TORCH_INDEX) torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

demo: install
	@echo "== the demo: chromosomes of yeast -> activations -> SAE -> scores and tracks, written to demo/"
	rm -rf demo
	$(BIN)/sae-tracks demo -o demo

test: install
	@echo "== tests (those that need programs or data that are not here are skipped, with the reason)"
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(ORDER)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: install
	$(BIN)/python docs/make_cli_reference.py
	$(BIN)/python docs/make_api_reference.py

site: install
	$(BIN)/python -m mkdocs build --strict

dist: install
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

clean:
	rm -rf $(VENV) demo site build dist .pytest_cache .ruff_cache .hypothesis
