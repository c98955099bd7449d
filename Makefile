# Needs GNU make, Python >= 3.10 and Java >= 17; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
REPORTS := build/tests

# Workers must run the environment's Python; another Spark on the machine must not replace the environment's.
export PYTHON
export PYSPARK_PYTHON := $(CURDIR)/$(BIN)/python
unexport SPARK_HOME PYSPARK_DRIVER_PYTHON PYTHONPATH

.PHONY: help demo test test-all third-party bench zip notebooks docs setup machine clean \
	lint types layers docstrings plain classic connect settings third-party-tests compat compat-oldest compat-others test-runs third-party-runs
ifeq ($(filter test-runs third-party-runs,$(MAKECMDGOALS)),)
.NOTPARALLEL:  # except for these two targets
endif
.DEFAULT_GOAL := help

help:
	@echo 'make demo      set up, then run the main example (examples/flights.py)'
	@echo 'make test      set up, then run the checks that need no third-party packages: lint, types, layers, docstrings, docs,'
	@echo '               tests without a Spark session, on classic Spark, on Spark Connect, with other Spark settings'
	@echo 'make test-all  make test, then make third-party: tests with third-party packages (PyTorch, Keras, MLflow,'
	@echo '               XGBoost, JupyterLab, ...), other versions of PySpark and Python, the sdist and the wheel; 7 GB'
	@echo 'make setup     install all of that, for the examples and notebooks'
	@echo 'make bench     set up, then run the benchmarks'
	@echo 'make zip       set up, then build dist/sparkscale.zip for spark-submit --py-files'
	@echo 'make notebooks set up, then run the notebooks in examples/, save them with their outputs, and draw the pictures'
	@echo 'make docs      set up, then build the documentation, into build/docs'
	@echo 'make clean     remove .venv, .nox, build and the caches'
	@echo
	@echo 'Parts of make test:        lint types layers docstrings docs plain classic connect settings.'
	@echo 'Parts of make third-party: third-party-tests compat.'
	@echo 'Another Python:            make PYTHON=python3.12 test'

demo: $(VENV)/.demo
	@echo '==> examples/flights.py'
	@$(BIN)/python examples/flights.py

test: lint types layers docstrings docs
	@$(MAKE) --no-print-directory -j3 test-runs
	@echo '==> all checks passed'

test-all: test third-party

third-party: $(VENV)/.all
	@$(MAKE) --no-print-directory -j3 third-party-runs
	@echo '==> all checks with third-party packages passed'

# In parallel: none of them keeps two cores busy by itself.
test-runs: plain classic connect settings

third-party-runs: third-party-tests compat-oldest compat-others

bench: $(VENV)/.bench
	@echo '==> benchmarks'
	@$(BIN)/python -m benchmarks

zip: $(VENV)/.test
	@$(BIN)/python tools/build_zip.py

notebooks: $(VENV)/.all
	@$(BIN)/python tools/run_notebooks.py
	@$(BIN)/python tools/draw_scalers.py
	@$(BIN)/python tools/draw_distributions.py
	@$(BIN)/python tools/draw_quantizer.py

lint: $(VENV)/.test
	@echo '==> ruff, codespell, validate-pyproject'
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell
	@$(BIN)/validate-pyproject pyproject.toml

types: $(VENV)/.test
	@echo '==> mypy'
	@$(BIN)/mypy --strict sparkscale examples/typed.py

layers: $(VENV)/.test
	@echo '==> import-linter'
	@$(BIN)/lint-imports

docstrings: $(VENV)/.test
	@echo '==> numpydoc'
	@find sparkscale -name '*.py' | sort | xargs $(BIN)/numpydoc lint

docs: $(VENV)/.test
	@echo '==> sphinx'
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs

# The JUnit files have the time and the number of Spark jobs of each test.
plain: $(VENV)/.test
	@echo '==> pytest without a Spark session, with branch coverage of the layers below Spark'
	@$(BIN)/pytest --spark=none -m 'not third_party' --cov --durations=10 --junitxml=$(REPORTS)/plain.xml

classic: $(VENV)/.test
	@echo '==> pytest on classic Spark'
	@$(BIN)/pytest --spark=classic -m 'not third_party' --within-budget --durations=20 --junitxml=$(REPORTS)/classic.xml

connect: $(VENV)/.test
	@echo '==> pytest on Spark Connect'
	@$(BIN)/pytest --spark=connect -m 'core and not third_party' --within-budget --durations=20 --junitxml=$(REPORTS)/connect.xml

# The tests marked "settings", again with settings that change how Spark parses SQL.
settings: $(VENV)/.test
	@echo '==> pytest with other Spark settings'
	@$(BIN)/pytest --settings=ansi-off --within-budget --junitxml=$(REPORTS)/ansi-off.xml
	@$(BIN)/pytest --settings=strict --within-budget --junitxml=$(REPORTS)/strict.xml

third-party-tests: $(VENV)/.all
	@echo '==> pytest with third-party packages'
	@$(BIN)/pytest -m third_party -o 'norecursedirs=.*' --durations=20 --junitxml=$(REPORTS)/third-party.xml

compat: compat-oldest compat-others

compat-oldest: $(VENV)/.all
	@echo '==> the oldest version of PySpark'
	@$(BIN)/nox --tags oldest

compat-others: $(VENV)/.all
	@echo '==> other versions of PySpark and Python, the sdist and the wheel'
	@$(BIN)/nox --keywords 'not oldest'

machine:
	@sh tools/check_machine.sh

# One environment; each step adds to it, and is repeated when pyproject.toml has changed. The machine and the network
# are checked before anything is installed.
setup: $(VENV)/.all

$(VENV)/.demo: pyproject.toml | machine
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sh tools/check_index.sh $(BIN)/python
	@echo '==> setting up $(VENV) with PySpark and the packages of the example: some 800 MB, a minute or two'
	@$(PIP) install --quiet --upgrade 'pip>=25.1'
	@$(PIP) install --editable . --group example
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@sh tools/check_index.sh $(BIN)/python
	@echo '==> adding the packages of the tests to $(VENV): some 300 MB'
	@$(PIP) install --editable '.[connect]' --group test --group lint --group docs
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	@$(PIP) install --quiet --group bench
	@touch $@

$(VENV)/.all: $(VENV)/.test
	@sh tools/check_index.sh $(BIN)/python
	@echo '==> adding the third-party packages to $(VENV): some 6 GB, several minutes'
	@$(PIP) install --editable '.[connect]' --group dev
	@touch $@

clean:
	rm -rf $(VENV) .nox build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
