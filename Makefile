# The commands of README.md and CONTRIBUTING.md in one place.
VENV ?= .venv
PY := $(VENV)/bin/python

.PHONY: install test light lint types bench replay

install:  ## everything: the package, torch, transformers, bitsandbytes and the test tools
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet 'torch==2.13.0'
	$(PY) -m pip install --quiet -e '.[measure,dev]'

test: install lint types  ## what CI runs
	$(PY) -m pytest -n auto --dist worksteal

light:  ## the suite without torch and transformers
	python3 -m venv $(VENV)-light
	$(VENV)-light/bin/python -m pip install --quiet -e '.[dev]'
	$(VENV)-light/bin/python -m pytest -n auto --dist worksteal

replay:  ## one model of each kind through the real modelling code
	$(PY) -m pytest tests/replay/test_kinds_of_models.py

lint:
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

types:
	$(VENV)/bin/mypy

bench:
	$(PY) benchmarks/startup.py
	$(PY) benchmarks/estimates.py
