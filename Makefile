PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A file's tests share what they make, so one worker runs them all; slow files come first.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test test-all lint docs bench clean

setup: $(STAMP)

# One install serves the demo, the tests and the linters; a change of pyproject repeats it.
$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "FedRETune needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/fedretune run --sites 4 --experiences 5 --seed 1

test: lint
	$(BIN)/pytest $(WORKERS)

# Also the tests that take minutes: runs on real SuperLinks and SuperNodes among them.
test-all: lint
	$(BIN)/pytest $(WORKERS) -m 'long or not long'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation, as pages below site/; a broken link is an error.
docs: setup
	$(BIN)/mkdocs build --strict

bench: setup
	$(BIN)/fedretune bench

clean:
	rm -rf $(VENV) runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
