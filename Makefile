# Everything a fresh machine needs is done by the target that needs it, once.
# python and extras that .venv was made with: they stay until others are named
MADE_OF := $(shell cat .venv/.chosen 2>/dev/null)
USUAL := python3.11 embedded,cpu,train
PYTHON ?= $(firstword $(MADE_OF) $(USUAL))
# gpu instead of cpu on a machine with CUDA; never both, they own one import name
EXTRAS ?= $(lastword $(USUAL) $(MADE_OF))
NOTHING :=
override EXTRAS := $(subst $(NOTHING) $(NOTHING),,$(EXTRAS))
$(if $(EXTRAS),,$(error EXTRAS: expected extras such as embedded,cpu,train))
BIN := .venv/bin
VERSION := 'import sys; print(sys.version_info[:2])'
KERNELS := $(shell find processors models -name "*.py")

# what tests say of themselves that start services; the others run on every core
SERVICES := embedded or kafka or clickhouse_server or own_environment
# how often something is killed, on each kind of services
KILLS ?= 20

UNITS := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 -m 'not ($(SERVICES))'

.PHONY: up test lint check bench faults clean help again

help: ## show the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# written only where it differs, and then all of the below is done again
ifneq ($(PYTHON) $(EXTRAS),$(MADE_OF))
.venv/.chosen: again
endif

.venv/.chosen:
	@command -v $(PYTHON) >/dev/null || { echo "expected $(PYTHON) (Python 3.11 or 3.12); name yours: make PYTHON=python3.12 …"; exit 1; }
	@! test -x $(BIN)/python || test "$$($(PYTHON) -c $(VERSION))" = "$$($(BIN)/python -c $(VERSION))" || rm -rf .venv
	! test -x $(BIN)/python || $(BIN)/python -m pip uninstall -qq --disable-pip-version-check --yes onnxruntime onnxruntime-gpu
	@mkdir -p .venv && echo "$(PYTHON) $(EXTRAS)" > $@

.venv/.ready: pyproject.toml constraints.txt .venv/.chosen
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

.venv/.kernels: .venv/.ready $(KERNELS)
	@find processors models -name '*.nb[ic]' -delete
	@echo "compiling the kernels, once"
	$(BIN)/python -m infra.warm_up
	@touch $@

.venv/.tested: .venv/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS),registry,test,dev]'
	sh tests/services/install.sh
	@touch $@

up: .venv/.kernels ## set up this machine and run everything on it; Ctrl-C stops all of it
	@$(BIN)/tickwire up

test: .venv/.kernels .venv/.tested lint ## every test; starts and stops the services it needs
	@failed=0; \
	$(UNITS) || failed=1; \
	$(BIN)/python -m pytest --durations=25 -m '$(SERVICES)' || failed=1; \
	exit $$failed

lint: .venv/.tested ## format, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: .venv/.kernels .venv/.tested lint ## what a commit must pass: lint and units
	$(UNITS)

bench: .venv/.kernels ## the flow against the same job written per event
	$(BIN)/tickwire bench flow
	$(BIN)/tickwire bench peers

faults: .venv/.kernels .venv/.tested ## kill everything at random, KILLS times, on embedded services and on three brokers of Apache Kafka
	$(BIN)/python -m tests.faults.run --services embedded --kills $(KILLS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.faults.run --services kafka3 --kills $(KILLS) $(if $(SEED),--seed $(SEED))

clean: ## remove what was installed and built; the history in .tickwire stays
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
