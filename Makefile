# Needs GNU make, Python >= 3.10 and Java >= 17; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

# Workers must run the environment's Python; another Spark on the machine must not replace the environment's.
export PYTHON
export PYSPARK_PYTHON := $(CURDIR)/$(BIN)/python
unexport SPARK_HOME PYSPARK_DRIVER_PYTHON PYTHONPATH

.PHONY: help demo test worlds connect-and-compat bench zip notebooks docs setup machine lint types layers docstrings classic connect compat clean
ifneq ($(MAKECMDGOALS),worlds)
.NOTPARALLEL:  # one Spark at a time
endif
.DEFAULT_GOAL := help

help:
	@echo 'make demo    set up, then run the main example (examples/flights.py)'
	@echo 'make test    set up, then run all checks: lint, types, layers, docstrings, docs, tests on classic Spark'
	@echo '             and on Spark Connect, and the core tests on older versions of PySpark'
	@echo 'make bench   set up, then run the benchmarks'
	@echo 'make zip     set up, then build dist/sparkscale.zip for spark-submit --py-files'
	@echo 'make notebooks  set up, then run the notebooks in examples/ and save them with what they show'
	@echo 'make docs    set up, then build the documentation, into build/docs'
	@echo 'make clean   remove .venv, .nox, build/docs and the caches'
	@echo
	@echo 'Parts of make test: lint types layers docstrings docs classic connect compat.'
	@echo 'Another Python:     make PYTHON=python3.12 test'

demo: setup
	@echo '==> examples/flights.py'
	@$(BIN)/python examples/flights.py

# The worlds at the same time: neither keeps two cores busy by itself.
test: lint types layers docstrings docs
	@$(MAKE) --no-print-directory -j2 worlds
	@echo '==> all checks passed'

worlds: classic connect-and-compat

connect-and-compat:
	@$(MAKE) --no-print-directory connect compat

bench: setup
	@echo '==> benchmarks'
	@$(BIN)/python -m benchmarks

zip: setup
	@$(BIN)/python tools/build_zip.py

notebooks: setup
	@$(BIN)/python tools/run_notebooks.py

lint: setup
	@echo '==> ruff'
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@echo '==> mypy'
	@$(BIN)/mypy --strict sparkscale examples/typed.py

layers: setup
	@echo '==> import-linter'
	@$(BIN)/lint-imports

docstrings: setup
	@echo '==> numpydoc'
	@find sparkscale -name '*.py' | sort | xargs $(BIN)/numpydoc lint

docs: setup
	@echo '==> sphinx'
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs

classic: setup
	@echo '==> pytest on classic Spark'
	@$(BIN)/pytest --world=classic --durations=30

connect: setup
	@echo '==> pytest on Spark Connect'
	@$(BIN)/pytest --world=connect --durations=30

compat: setup
	@echo '==> older versions of PySpark, the sdist and the wheel'
	@$(BIN)/nox

setup: machine $(STAMP)

machine:
	@sh tools/check_machine.sh

# Redone when pyproject.toml has changed. The check of the machine comes before anything is installed.
$(STAMP): pyproject.toml | machine
	@echo '==> setting up $(VENV)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable '.[connect]' --group dev
	@touch $@

clean:
	rm -rf $(VENV) .nox build/docs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
