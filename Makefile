# For a fresh machine: `make demo`, `make test`, `make docs` and `make bench`.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

# Where MNIST comes from: the Hugging Face hub, or a folder of its IDX files.
DATA ?= ylecun/mnist

.PHONY: demo test test-browser test-wheel docs bench clean

demo: .venv/installed
	$(BIN)/r2id sample --model flowers --class lotus_lotus,hibiscus,rose,sunflower --size 256x256 --size 160x288 --size 288x160 --joint --precision bf16 --output out/flowers
	$(BIN)/r2id demo --output out

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q --numprocesses logical --dist loadfile

# Needs chromium and chromedriver, in Debian the packages chromium and chromium-driver.
test-browser: .venv/installed-test
	$(BIN)/pytest -q -m browser

# Needs the network, and takes minutes.
test-wheel: .venv/installed-test
	$(BIN)/pytest -q -m wheel -rP

docs: .venv/installed-docs
	$(BIN)/mkdocs build --quiet
	@echo open site/index.html

bench: .venv/installed-test
	$(BIN)/python benchmarks/speed/run.py --data $(DATA)

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) .
	touch $@

.venv/installed-test: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[test]'
	touch $@ .venv/installed .venv/installed-docs

.venv/installed-docs: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[docs]'
	touch $@ .venv/installed

clean:
	rm -rf .venv out dist site
