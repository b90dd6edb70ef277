# `make train` and `make test` install what they need into .venv and change nothing else on the machine.
# To use another Python: `make PYTHON=python3.13 test`. To pass options to the script or to pytest:
# `make train ARGS="--epochs 1"`. For another environment than .venv: `make VENV=.venv-docs docs`.
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
# Tests in one file share expensive fixtures, so one process runs all tests of a file.
PYTEST = -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile

# `make gpu` installs into .venv-gpu for the newest CUDA that the driver supports, or for CUDA=12 or CUDA=13. INSTALL=no
# uses PYTHON as it is. GPU_LOG gets all output.
DRIVER = $(shell nvidia-smi 2> /dev/null | sed -nE 's/.*CUDA[A-Za-z ]*Version *: *([0-9]+).*/\1/p')
CUDA = $(or $(filter 12,$(DRIVER)),13)
INSTALL = yes
GPU_LOG = docs/gpu.txt
GPU_PYTHON = $(if $(filter no,$(INSTALL)),$(PYTHON),.venv-gpu/bin/python)
# A distribution of its own in this repository. The tests and the documentation need it, `make train` does not.
LOCKSTEP = packages/array-lockstep
$(VENV)/test $(VENV)/dev $(VENV)/docs $(VENV)/mutation: ALSO = --editable ./$(LOCKSTEP)
GPU_PARTS = "$(PYTEST) -m gpu" \
  "scripts/parity.py --backends cupy --steps 2000" "scripts/parity.py --backends cupy --steps 2000 --dtype float32" \
  "scripts/bench.py --rounds 5 --workloads one-float64 one-float32 batch-128" \
  "scripts/bench.py --rounds 5 --workloads batch-1024-deep --steps 20"

.PHONY: train test lockstep bare test-all docs notebooks mutants torture gpu lint types check dist publishable smoke clean

train: $(VENV)/plots
	$(BIN)/python scripts/train.py --backend numpy $(ARGS)

# One thread per process, so that the processes do not compete.
test: $(VENV)/test
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) -m 'not slow' $(ARGS)

# The tests of array-lockstep alone, in an environment with only its two requirements and what its tests need.
lockstep:
	$(PYTHON) -m venv --clear .venv-lockstep
	.venv-lockstep/bin/python -m pip install --quiet --disable-pip-version-check --no-compile './$(LOCKSTEP)[test]'
	cd $(LOCKSTEP) && OMP_NUM_THREADS=1 ../../.venv-lockstep/bin/pytest --numprocesses=logical --maxprocesses=4 $(ARGS)

# The quick tests that need no extra, in an environment with only the required packages.
bare:
	$(PYTHON) -m venv --clear .venv-bare
	.venv-bare/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[checks]'
	OMP_NUM_THREADS=1 .venv-bare/bin/python $(PYTEST) -m 'not slow' $(or $(ARGS),tests)

# Adds the slow tests and every installed backend, and lists the 20 slowest tests at the end. Some files have minutes of
# slow tests, so a process that has finished takes over tests from another process.
test-all: $(VENV)/test
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) --dist=worksteal --durations=20 $(ARGS)

# The documentation as a site in build/site. `.venv/bin/mkdocs serve` shows it while you write it. Material warns of
# MkDocs 2. The warning is switched off, because the extra `docs` excludes MkDocs 2.
docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

# Executes docs/*.ipynb and writes their outputs. `make test-all` compares them.
notebooks: $(VENV)/test
	$(BIN)/python tests/tools/notebooks.py $(ARGS)

# Tests the core with thousands of small faults, one at a time, to find faults that no test notices: tests/mutants.md.
# `make mutants ARGS="mlp_xp.core.plan.*"` tests some of them.
mutants: $(VENV)/mutation
	$(BIN)/python tests/tools/mutants.py $(ARGS)

# Kills, faults of the disk, loss of power, two processes in one folder: docs/reliability.md. It takes at most 20 minutes.
# Examples: `make torture ARGS="--minutes 60"`, `make torture ARGS="kills --backends numpy"`.
torture: $(VENV)/test
	$(BIN)/python tests/tools/torture.py $(ARGS)

# Tests, parity check and benchmark on an NVIDIA GPU. All parts run, even if one fails. TF32 is off, because it multiplies
# float32 with ten bits. JAX leaves memory to the other libraries.
gpu: SHELL = bash
gpu: export NVIDIA_TF32_OVERRIDE = 0
gpu: export XLA_PYTHON_CLIENT_PREALLOCATE = false
gpu:
ifneq ($(INSTALL),no)
	@nvidia-smi -L > /dev/null 2>&1 || \
	  { echo "no usable GPU: nvidia-smi shows none; install the NVIDIA driver on a machine with an NVIDIA card"; exit 2; }
	@$(MAKE) --no-print-directory .venv-gpu/cuda$(CUDA)
endif
	@$(GPU_PYTHON) -c 'import cupy; cupy.cuda.runtime.getDevice()' > /dev/null 2>&1 || \
	  { echo "no usable GPU: CuPy is missing in $(GPU_PYTHON), or finds none"; exit 2; }
	@set -o pipefail; { date -u +%F; nvidia-smi --query-gpu=name,driver_version --format=csv,noheader; \
	  for part in $(GPU_PARTS); do printf '\n$$ python %s\n' "$$part"; \
	    $(GPU_PYTHON) $$part || { echo "FAILED: python $$part"; failed=1; }; done; \
	  exit $${failed:-0}; } 2>&1 | tee $(GPU_LOG)

.venv-gpu/cuda%: pyproject.toml
	$(PYTHON) -m venv --clear .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[gpu-cuda$*]' \
	  --editable ./$(LOCKSTEP)
	@touch $@

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

types: $(VENV)/dev
	$(BIN)/mypy

check: lint types test

# Builds the sdist from the repository, and the wheel from the sdist. array-lockstep has a folder of its own.
dist: $(VENV)/dist
	rm -rf dist $(LOCKSTEP)/dist
	$(BIN)/python -m build --outdir $(LOCKSTEP)/dist $(LOCKSTEP)
	$(BIN)/twine check --strict $(LOCKSTEP)/dist/*
	$(BIN)/check-wheel-contents $(LOCKSTEP)/dist/*.whl
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# Checks the wheel and the sdist with the libraries of the action that publishes them.
ACTION = $(shell sed -nE 's/.*gh-action-pypi-publish@([0-9a-f]{40}).*/\1/p' .github/workflows/release.yml)
PINS = https://raw.githubusercontent.com/pypa/gh-action-pypi-publish/$(ACTION)/requirements/runtime.txt
publishable: dist
	$(PYTHON) -m venv --clear build/publisher
	build/publisher/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(PINS)
	build/publisher/bin/twine check dist/*

# Tests the wheel in a fresh environment, outside this folder. `python tests/tools/smoke.py --tests WHEEL` adds the quick
# tests that need no other file of the repository.
smoke: dist
	$(BIN)/python tests/tools/smoke.py dist/*.whl

# A venv whose creation failed may have a python but no pip. It is removed, because make would take it for complete.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mlp_xp needs Python 3.11 or newer; choose one with: make PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot create a virtual environment (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

# $(VENV)/NAME: the extra NAME of pyproject.toml is installed. pip compiles no bytecode, because compiling everything takes as
# long as the rest. Python compiles each module when it is first imported.
$(VENV)/%: $(VENV)/bin/python pyproject.toml $(LOCKSTEP)/pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[$*]' $(ALSO)
	@touch $@

clean:
	rm -rf .venv .venv-* build dist $(LOCKSTEP)/dist .pytest_cache .hypothesis .mypy_cache .ruff_cache
