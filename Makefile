# One command each: `make help` lists them.
# Needs git, make and Python 3.11 or newer with venv; everything else goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Processes that run the tests.
JOBS ?= 2

.PHONY: help venv demo test test-extras paper bench prove clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## *' '/^[a-z-]+:.*##/ {printf "  make %-12s %s\n", $$1, $$2}' Makefile

venv: $(INSTALLED)  ## .venv with everything the other commands need

demo: $(INSTALLED)  ## scan, program and recall digits on a virtual chip behind a serial port (DEMO_ARGS, CHIP_SEED, SEED)
	@.ci/demo

test: $(INSTALLED)  ## style, types, imports and tests: the gate
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n $(JOBS) -m "not extras and not paper"

test-extras: $(INSTALLED)  ## tests that need system packages; each one that lacks its package skips and names it
	$(BIN)/pytest -q -rs -m extras

paper: $(INSTALLED)  ## the published figures in their long form (slow)
	$(BIN)/pytest -q -n $(JOBS) -m paper

# Exit status 3: no bound fails, but a peer is not here to measure against; the table names it.
bench: $(INSTALLED)  ## speed, size and exactness of the virtual chip, beside its peers (BENCH_ARGS, CROSSSIM=checkout)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]' 1>&2 || \
	echo "badcrossbar does not install: apt-get install libcairo2-dev pkg-config python3-dev gcc" >&2
	@$(BIN)/python -m benchmarks chip $(BENCH_ARGS) || test $$? = 3

prove: $(INSTALLED)  ## the wire on bad and pulled cables and under killed processes, three hours (PROVE_ARGS="--cables 5 --unplugs 5 --kills 10")
	$(BIN)/python -m benchmarks.prove_wire $(PROVE_ARGS)

clean:  ## remove .venv and all caches; runs are kept
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# What pip says goes to stderr: `make demo DEMO_ARGS=--json` prints JSON and nothing else.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	{ rm -rf .venv; echo "no venv: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' 1>&2
	@touch $@
