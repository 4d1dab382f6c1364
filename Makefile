# Each of `make demo`, `make test`, `make lint` and `make docs` sets up all it needs from a bare clone.
#   make test PYTHON=python3.12          another interpreter for the virtual environment
#   make test TORCH_OPTIONS="--index-url https://download.pytorch.org/whl/cpu"    the small CPU build of torch
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
TORCH_OPTIONS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.installed-docs
RELEASE_INSTALLED := $(VENV)/.installed-release
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-web web page docs dist bench lint format freeze clean distclean

help:
	@echo "make demo      train two models and draw picture sheets into demo/ (about six minutes on two cores)"
	@echo "make test      ruff, mypy and all tests"
	@echo "make test-web  the explorer's page in a headless Chromium (needs Node 20.19 or newer)"
	@echo "make web       build the explorer's page (needs Node 20.19 or newer); the others do so where Node is found"
	@echo "make docs      the documentation site, into build/site"
	@echo "make dist      source distribution and wheel, checked, into dist/ (needs Node 20.19 or newer)"
	@echo "make bench     name what is not measured yet, then measure speed, memory and 200 kills"
	@echo "               (MNIST=folder; over an hour)"
	@echo "make lint      ruff and mypy only"
	@echo "make format    let ruff mend what it can"
	@echo "make clean     remove caches, builds and demo/ (runs/ and $(VENV) stay; make distclean removes $(VENV) and web/node_modules too)"

setup: $(INSTALLED) page

# torch comes first and alone, so that TORCH_OPTIONS can choose its build without touching the rest.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_OPTIONS) torch
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation --editable '.[dev]'
	touch $@

# Neither is needed to test.
$(DOCS_INSTALLED) $(RELEASE_INSTALLED): $(VENV)/.installed-%: $(INSTALLED)
	$(PIP) --no-build-isolation --editable '.[$*]'
	touch $@

# The page of the explorer: built once from web/, kept out of the repository, shipped in the wheel.
PAGE := src/vaekit/page/index.html
MODULES := web/node_modules/.package-lock.json

web: $(PAGE)

$(MODULES): web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	touch $@

$(PAGE): $(MODULES) web/index.html web/vite.config.ts $(wildcard web/src/*)
	cd web && npm run build

# Where there is no Node, all but 'vaekit explore' and 'vaekit publish' works.
page:
	@if ! { command -v npm >/dev/null && $(MAKE) --no-print-directory web; } && test ! -f $(PAGE); then \
	echo "The explorer's page is not built: install Node 20.19 or newer, then 'make web'."; fi

demo: $(INSTALLED) page
	PATH="$(abspath $(BIN)):$$PATH" bash scripts/demo.sh

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy

# One thread per worker: sums come out in the same order on every machine, and the workers do not fight over cores.
# Files are not torn apart between workers, so that a model trained once for a file serves all its tests.
test: lint page
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --durations=10

# A small run or two, and the page in a real browser. RUN=folder shows that run of 64 px portraits; SCREENSHOTS=folder
# keeps the pictures.
test-web: $(INSTALLED) $(PAGE)
	bash scripts/chromium.sh
	cd web && npm run unit
	$(BIN)/python web/e2e/make_runs.py build/web $(RUN)
	cd web && PYTHON="$(abspath $(BIN)/python)" SCREENSHOTS="$(SCREENSHOTS:%=$(abspath $(SCREENSHOTS)))" npm run e2e

# Strict: a broken link, an unrendered role or anything loaded from another host ends it. The variable silences an
# announcement of the theme. The tests of its scripts need what only this target installs.
docs: $(DOCS_INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python -m pytest tests/project/test_site.py
	@echo "build/site/index.html"

dist: $(RELEASE_INSTALLED) $(PAGE)
	rm -rf dist
	$(BIN)/python -m build --installer pip
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python scripts/check_wheel.py dist

# On a machine that does nothing else. Results go to bench/results.
MNIST ?= ../shared/data/mnist
bench: $(INSTALLED)
	$(BIN)/python bench/headline.py
	$(BIN)/python bench/speed.py $(MNIST) --rounds 3
	$(BIN)/python bench/scaling.py --processes 2 --rounds 3
	$(BIN)/python bench/large_set.py
	$(BIN)/python bench/kills.py --kills 200
	$(BIN)/python scripts/tables.py

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Writes down what is installed; the build of torch (+cpu, +cu126) is left to the machine.
freeze: $(DOCS_INSTALLED) $(RELEASE_INSTALLED)
	{ head -n 1 constraints.txt; \
	  $(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed -e '/^#/d' -e 's/+[a-z0-9]*$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf build dist demo src/vaekit/page web/test-results .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) web/node_modules
