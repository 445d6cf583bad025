# Each target builds what it needs; `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DELETE_ON_ERROR:
.PHONY: help demo demo-strong test test-slow oldest check format clean

help:
	@echo "make demo         sets everything up and runs the main job: adapters for several cultures, every pair tested, a report"
	@echo "make demo-strong  the same with a model of 1.5B parameters (about an hour)"
	@echo "make test         sets everything up and runs lint, types, import directions and tests"
	@echo "make test-slow    the tests that take minutes"
	@echo "make oldest       the quick tests with the oldest version of each library that pyproject.toml claims, in an environment of their own"
	@echo "make format       formats and mends what the linter can mend"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/affinage demo --out runs/demo

demo-strong: $(STAMP)
	$(BIN)/affinage demo --strong --out runs/demo-strong

check: $(STAMP)
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy

test: check
	OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=10000 $(BIN)/python -m pytest -m 'not slow and not gpu'

test-slow: $(STAMP)
	OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=10000 $(BIN)/python -m pytest -m slow

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt --editable '.[peft,tune]' pytest hypothesis statsmodels
	touch $@

oldest: $(OLDEST)/.installed
	OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=10000 $(OLDEST)/bin/python -m pytest -m 'not slow and not gpu'

format: $(STAMP)
	$(BIN)/ruff check --fix src tests bench
	$(BIN)/ruff format src tests bench

clean:
	rm -rf $(VENV) $(OLDEST) .mypy_cache .ruff_cache .pytest_cache
