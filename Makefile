# Every target works alone on a fresh clone with Python >= 3.11 and make. ARGS is passed on: make test ARGS="-k loss"
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench accuracy reliability docs lock clean
MAKEFLAGS += --no-print-directory

PYTHON_IN_VENV := .venv/bin/python
READY := .venv/ready
ARGS ?=
# Each has a broker of its own and takes whole files; they wait more than they work. One that ends by itself ends the run: replaced,
# it would leave the others waiting for its files.
PROCESSES ?= 3

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(READY)  ## make the environment in .venv (PYTHON=/path/to/python3 names another Python)

# Redone only when what it is made from changes.
$(READY): requirements.lock pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh

demo: $(READY)  ## plant faults in a real Kafka, then find them: ledgers, verdicts, HTML reports
	@$(PYTHON_IN_VENV) -m workbench.sandbox.demo $(ARGS)

test: $(READY)  ## run all tests, those on a real broker too
	@$(PYTHON_IN_VENV) -m pytest -n $(PROCESSES) --dist loadfile --max-worker-restart 0 $(ARGS)

lint: $(READY)  ## ruff (rules and format) and mypy --strict
	@$(PYTHON_IN_VENV) -m ruff check .
	@$(PYTHON_IN_VENV) -m ruff format --check .
	@$(PYTHON_IN_VENV) -m mypy

bench: $(READY)  ## measure speed and memory side by side with other tools
	@$(PYTHON_IN_VENV) -m benchmarks $(ARGS)

SEEDS ?= 1

accuracy: $(READY)  ## plant every incident and count which causes were found (SEEDS=3: three times)
	@$(PYTHON_IN_VENV) -m workbench.sandbox.accuracy --seeds $(SEEDS) $(ARGS)

reliability: $(READY)  ## break brokers, connections and runs under the workbench; kill the integration under load
	@$(PYTHON_IN_VENV) -m pytest -m "reliability or load" $(ARGS)

docs: $(READY)  ## write what is generated anew: command line reference, runbook index, links of alerts, dashboards
	@$(PYTHON_IN_VENV) scripts/docs.py $(ARGS)
	@$(PYTHON_IN_VENV) scripts/runbook_index.py $(ARGS)
	@$(PYTHON_IN_VENV) scripts/dashboards.py $(ARGS)

lock: $(READY)  ## write requirements.lock anew from pyproject.toml
	@.venv/bin/uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-annotate --output-file requirements.lock $(ARGS)

clean:  ## remove the environment, caches and outputs
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist out benchmarks/out *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
