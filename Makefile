# `make study` and `make test` do all their own set-up on a machine with Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install study test lint docs bench clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

study: $(STAMP)
	$(BIN)/subriem run studies/adapted_flow.py --out results/adapted_flow.nc --workers 2 --fresh

# One thread a worker: two test processes share two cores without stalling each other. The examples
# of the README and of the documentation build on each other, and stay in one process.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest README.md docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --ignore=README.md --ignore=docs

# The whole site anew: pictures, pages, reference; then every link is followed.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	rm -rf docs/_build docs/api/generated
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	$(BIN)/python docs/check_site.py docs/_build/html

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy subriem models studies

# Side by side with the peers of benchmarks/peers.txt, in an environment of their own. For a part or
# a shorter run: make bench BENCH="--only training,gram --quick".
bench:
	$(PYTHON) benchmarks/environment.py
	.venv-bench/bin/python benchmarks/run.py $(BENCH)

clean:
	rm -rf $(VENV) .venv-bench build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
