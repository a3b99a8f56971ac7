# `make study` and `make test` do all their own set-up on a machine with Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install study test lint clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

study: $(STAMP)
	$(BIN)/subriem run studies/adapted_flow.py --out results/adapted_flow.nc --workers 2 --fresh

# One thread a worker: two test processes share two cores without stalling each other. The examples
# of the README build on each other, and stay in one process.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest README.md
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --ignore=README.md

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy subriem models studies

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
