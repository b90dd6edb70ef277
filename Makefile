# `make train` and `make test` do all of their own set-up in .venv; nothing else on the machine is touched.
# Another Python: `make PYTHON=python3.13 test`. Options for the script or for pytest: `make train ARGS="--epochs 1"`.
PYTHON ?= python3
BIN = .venv/bin
# A file's tests share what is costly to make, so they stay together.
PARALLEL = --numprocesses=auto --maxprocesses=4 --dist=loadfile
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

# `make gpu` goes by the driver for CUDA 12 or 13, and installs into .venv-gpu. INSTALL=no runs with PYTHON as it is.
CUDA =
INSTALL = yes

.PHONY: train test mutants gpu lint types check dist smoke clean

train: .venv/train
	$(BIN)/python scripts/train.py --backend numpy $(ARGS)

test: .venv/test
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

# The core with two thousand small faults, one at a time: which does no test notice? `make mutants ARGS="mlp_xp.plan.*"`.
mutants: .venv/mutation
	$(BIN)/python tests/mutants.py $(ARGS)

gpu:
	@$(PYTHON) scripts/gpu.py $(if $(CUDA),--cuda $(CUDA)) $(if $(filter no,$(INSTALL)),--no-install) $(ARGS)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

types: .venv/dev
	$(BIN)/mypy

check: lint types test

# The sdist from the repository, the wheel from the sdist.
dist: .venv/dist
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# The wheel in a fresh environment, outside this folder.
smoke: dist
	$(BIN)/python tests/smoke.py dist/*.whl

# A venv that failed half-way has a python but no pip, and make would take it for a whole one.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mlp_xp needs Python 3.11 or newer; name one with: make PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -m venv --clear .venv || \
	  { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

# The files' times say what was installed after the latest change of pyproject.toml.
.venv/train: .venv/bin/python pyproject.toml
	$(PIP_INSTALL) '.[plots]'
	@touch $@

.venv/test: .venv/bin/python pyproject.toml
	$(PIP_INSTALL) '.[test]'
	@touch $@ .venv/train

.venv/mutation: .venv/bin/python pyproject.toml
	$(PIP_INSTALL) '.[mutation]'
	@touch $@ .venv/test .venv/train

.venv/dist: .venv/bin/python pyproject.toml
	$(PIP_INSTALL) '.[dist]'
	@touch $@ .venv/train

.venv/dev: .venv/bin/python pyproject.toml
	$(PIP_INSTALL) '.[dev]'
	@touch $@ .venv/test .venv/train

clean:
	rm -rf .venv .venv-gpu build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache
