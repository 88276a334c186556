# `make demo`, `make demo-train`, `make docs` and `make test` need Python 3.11 or newer and a Python package index,
# nothing else: each makes .venv if it is missing and installs the pinned requirements once, the demos only their own.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
READY_TO_TEST := .venv/.ready-to-test
# Two processes of one thread each: on two cores faster than one process of two threads.
WORKERS ?= 2

.PHONY: demo demo-train docs test lint clean

# A picture in seconds, by the tiny model of the package.
demo: $(READY)
	$(BIN)/rskt-seg demo --output output/demo

# The same model from nothing: scenes, training, evaluation, the benchmark in miniature. Minutes.
demo-train: $(READY)
	$(BIN)/python demo/quickstart.py --output output/demo

# The docs site, in site/: every notebook is run, and a link that leads nowhere is an error.
docs: $(READY_TO_TEST)
	OMP_NUM_THREADS=1 $(BIN)/python tools/docs_site.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Work stealing leaves the full-size models, which come first, to one process (see tests/conftest.py).
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations 10

lint: $(READY_TO_TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): requirements.txt requirements-detectron2.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found %d.%d: make PYTHON=/path/to/python3.11 ..." % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q "pip==25.2" "setuptools==80.9.0" "wheel==0.45.1"
	$(BIN)/python -m pip install -q -r requirements.txt
	$(BIN)/python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("detectron2") is None)' || \
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --require-hashes -r requirements-detectron2.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $(READY)

$(READY_TO_TEST): $(READY) requirements-test.txt requirements-app.txt
	$(BIN)/python -m pip install -q -r requirements-test.txt
	$(BIN)/python -m pip install -q --no-deps -r requirements-app.txt
	touch $(READY_TO_TEST)

clean:
	rm -rf .venv build site *.egg-info output
