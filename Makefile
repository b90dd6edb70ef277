# `make train` and `make test` install what they need into .venv and change nothing else on the machine.
# To use another Python: `make PYTHON=python3.13 test`. To pass options to the script or to pytest:
# `make train ARGS="--epochs 1"`.
PYTHON ?= python3
BIN = .venv/bin
# Tests in one file share expensive fixtures, so one process runs all of them.
PYTEST = -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile

# `make gpu` installs into .venv-gpu for the newest CUDA that the driver supports, or for CUDA=12 or CUDA=13. INSTALL=no
# uses PYTHON as it is. GPU_LOG gets all output.
DRIVER = $(shell nvidia-smi 2> /dev/null | sed -nE 's/.*CUDA[A-Za-z ]*Version *: *([0-9]+).*/\1/p')
CUDA = $(or $(filter 12,$(DRIVER)),13)
INSTALL = yes
GPU_LOG = docs/gpu.txt
GPU_PYTHON = $(if $(filter no,$(INSTALL)),$(PYTHON),.venv-gpu/bin/python)
GPU_PARTS = "$(PYTEST) -m gpu" \
  "scripts/parity.py --backends cupy --steps 2000" "scripts/parity.py --backends cupy --steps 2000 --dtype float32" \
  "scripts/bench.py --rounds 5 --workloads one-float64 one-float32 batch-128" \
  "scripts/bench.py --rounds 5 --workloads batch-1024-deep --steps 20"

.PHONY: train test bare test-all docs notebooks mutants torture gpu lint types check dist publishable smoke clean

train: .venv/plots
	$(BIN)/python scripts/train.py --backend numpy $(ARGS)

# One thread per process, so that they do not compete.
test: .venv/test
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) -m 'not slow' $(ARGS)

# The quick tests that need no extra, with the required packages alone, in an environment of its own.
bare:
	$(PYTHON) -m venv --clear .venv-bare
	.venv-bare/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[checks]'
	OMP_NUM_THREADS=1 .venv-bare/bin/python $(PYTEST) -m 'not slow' $(ARGS)

# Adds what is marked slow, every backend that is installed, and the 20 slowest tests at the end. Some files have minutes
# of slow tests: a process that has finished takes tests over from another one.
test-all: .venv/test
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) --dist=worksteal --durations=20 $(ARGS)

# The documentation as a site in build/site; `.venv/bin/mkdocs serve` shows it while it is written. MkDocs 2, of which
# Material warns, cannot be installed: see the extra.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

# Executes docs/*.ipynb and writes their outputs, which `make test` compares.
notebooks: .venv/test
	$(BIN)/python tests/tools/notebooks.py $(ARGS)

# The core with two thousand small faults, one at a time: which does no test notice? `make mutants ARGS="mlp_xp.core.plan.*"`.
mutants: .venv/mutation
	$(BIN)/python tests/tools/mutants.py $(ARGS)

# Kills, faults of the disk, loss of power, two processes in one folder: docs/reliability.md. At most 20
# minutes; `make torture ARGS="--minutes 60"`, `make torture ARGS="kills --backends numpy"`.
torture: .venv/test
	$(BIN)/python tests/tools/torture.py $(ARGS)

# Tests, parity check and benchmark on an NVIDIA GPU. All parts run, also if one fails. No TF32, which multiplies float32
# with ten bits; and JAX leaves memory to the others.
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
	.venv-gpu/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[gpu-cuda$*]'
	@touch $@

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

types: .venv/dev
	$(BIN)/mypy

check: lint types test

# Builds the sdist from the repository, and the wheel from the sdist.
dist: .venv/dist
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# Checks them with the libraries of the action that will publish them.
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

# A venv whose creation failed may have a python but no pip. It is removed, because make would take it as complete.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mlp_xp needs Python 3.11 or newer; choose one with: make PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -m venv --clear .venv || \
	  { rm -rf .venv; echo "$(PYTHON) cannot create a virtual environment (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

# .venv/NAME: the extra NAME of pyproject.toml is installed. Without bytecode, which Python writes for what it imports: to
# compile all takes as long as the rest.
.venv/%: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[$*]'
	@touch $@

clean:
	rm -rf .venv .venv-gpu build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache
