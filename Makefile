# Two commands for a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test clean

demo: .venv/installed
	$(BIN)/r2id demo --output out

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) .
	touch $@

.venv/installed-test: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[test]'
	touch $@ .venv/installed

clean:
	rm -rf .venv out dist
