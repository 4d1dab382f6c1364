# Each of `make demo`, `make test` and `make lint` sets up all it needs from a bare clone.
#   make test PYTHON=python3.12          another interpreter for the virtual environment
#   make test TORCH_OPTIONS="--index-url https://download.pytorch.org/whl/cpu"    the small CPU build of torch
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
TORCH_OPTIONS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench lint format freeze clean distclean

help:
	@echo "make demo      train two models and draw picture sheets into demo/ (about six minutes on two cores)"
	@echo "make test      ruff, mypy and all tests"
	@echo "make bench     speed and memory beside other ways to train, and 200 kills (MNIST=folder; over an hour)"
	@echo "make lint      ruff and mypy only"
	@echo "make format    let ruff mend what it can"
	@echo "make clean     remove caches, builds and demo/ (runs/ and $(VENV) stay; make distclean removes $(VENV) too)"

setup: $(INSTALLED)

# torch comes first and alone, so that TORCH_OPTIONS can choose its build without touching the rest.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_OPTIONS) torch
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	PATH="$(abspath $(BIN)):$$PATH" bash scripts/demo.sh

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy

# One thread per worker: sums come out in the same order on every machine, and the workers do not fight over cores.
# Files are not torn apart between workers, so that a model trained once for a file serves all its tests.
test: lint
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --durations=10

# On a machine that does nothing else. Results go to bench/results.
MNIST ?= ../shared/data/mnist
bench: $(INSTALLED)
	$(BIN)/python bench/speed.py $(MNIST) --rounds 3
	$(BIN)/python bench/scaling.py --processes 2 --rounds 3
	$(BIN)/python bench/large_set.py
	$(BIN)/python bench/kills.py --kills 200
	$(BIN)/python scripts/tables.py

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Writes down what is installed; the build of torch (+cpu, +cu126) is left to the machine.
freeze: $(INSTALLED)
	{ head -n 1 constraints.txt; \
	  $(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed -e '/^#/d' -e 's/+[a-z0-9]*$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
