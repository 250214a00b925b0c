# `make` alone prints what there is to type. Everything lives in .venv, set up from the lock files when it is first
# needed and again only when they changed; `make clean` removes it.

PYTHON ?= python3
ARGS ?=
LOCK_FLAGS ?=

BIN := .venv/bin
# Runs that are repeatable on any machine: no word from pip that isn't an error, and no question ever.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# --no-compile: compiling all of the Kubernetes client takes longer than the demo; what is imported is compiled then.
# Wheels only: what a source distribution is built with would be the newest of the day, in no lock.
LOCKED := --no-compile --require-hashes --only-binary :all: --requirement
# --no-build-isolation: the build backend is the locked one, not the newest of the day.
PROJECT := --no-deps --no-build-isolation --editable .

# A .venv that was copied or moved still points to the folder it came from, and would run that folder's code; one
# whose Python was removed runs nothing. Both are made anew.
VENV_IS_OURS := $(shell [ -x $(BIN)/python ] && grep -qs -- '-m venv .*$(CURDIR)/.venv$$' .venv/pyvenv.cfg && echo yes)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # targets share one .venv, and tests their processors
.SUFFIXES:

##@ Try it

.PHONY: demo
demo: .venv/.runtime ## the whole story on an in-memory cluster: no Kubernetes, no Go, no root
	@$(BIN)/python -m nodeport_access demo $(ARGS)

.PHONY: up
up: .venv/.dev ## start a real API server here, the operator on it and a sample policy, and say what to type next
	@$(BIN)/python -m testbed up $(ARGS)

.PHONY: down
down: .venv/.dev ## end what `make up` started
	@$(BIN)/python -m testbed down $(ARGS)

##@ Test it

.PHONY: test
test: test-unit test-api ## everything: unit tests, then the tests on the real API server

.PHONY: test-unit
test-unit: .venv/.dev ## unit tests only, on every core (ARGS="-k cidrs" runs some)
	@$(BIN)/python -m pytest tests/unit -n auto --dist worksteal $(ARGS)

# Four at once on any machine: these tests wait about as much as they compute, and measure how long things take.
.PHONY: test-api
test-api: .venv/.dev build-testbed ## the tests on a real API server, and of what the image holds
	@$(BIN)/python -m pytest tests/image tests/api -n 4 --dist worksteal $(ARGS)

HISTORIES ?= 50
.PHONY: test-histories
test-histories: .venv/.dev build-testbed ## HISTORIES=50 batches of long random histories, and all planted bugs (about an hour)
	@HISTORIES=$(HISTORIES) $(BIN)/python -m pytest tests/api/test_histories.py --long $(ARGS)

.PHONY: build-testbed
build-testbed: .venv/.dev ## build the real API server, etcd and controller manager (once; about 20 minutes on 2 cores)
	@$(BIN)/python -m testbed build

.PHONY: lint
lint: .venv/.dev ## style, format, types, Dockerfile
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; \
		else echo "Dockerfile not checked: hadolint is not packaged for $$(uname -sm)" >&2; fi

##@ Change it

.PHONY: format
format: .venv/.dev ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: docs
docs: .venv/.dev ## write docs/conditions.md anew from the code
	@$(BIN)/python docs/generate.py

.PHONY: lock
lock: .venv-lock/.ready ## write requirements/*.lock anew from pyproject.toml (LOCK_FLAGS=--upgrade for the newest versions)
	@$(COMPILE) --group build --output-file requirements/runtime.lock pyproject.toml
	@$(COMPILE) --group dev --constraint requirements/runtime.lock --output-file requirements/dev.lock pyproject.toml

.PHONY: clean
clean: ## remove .venv and everything generated (the built API server stays in your cache folder)
	@rm -rf .venv .venv-lock .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	@rm -rf operator/*.egg-info
	@find image operator testbed tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "; printf "make <target>, all of them safe to repeat\n"} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up -----------------------------------------------------------------------------------------------------

.PHONY: stale
.venv/pyvenv.cfg: $(if $(VENV_IS_OURS),,stale)
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$$($(PYTHON) --version) cannot make virtual environments: install its venv module (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@echo "setting up .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear "$(CURDIR)/.venv"

# What the operator needs, and nothing else: enough for the demo, and quick.
.venv/.runtime: .venv/pyvenv.cfg requirements/runtime.lock pyproject.toml
	@echo "installing requirements/runtime.lock and the project into .venv"
	@$(PIP) install $(LOCKED) requirements/runtime.lock
	@$(PIP) install $(PROJECT)
	@touch $@

# dev.lock holds all of runtime.lock at the same versions (a test says so), so one installation serves both.
.venv/.dev: .venv/pyvenv.cfg requirements/dev.lock pyproject.toml
	@echo "installing requirements/dev.lock and the project into .venv"
	@$(PIP) install $(LOCKED) requirements/dev.lock
	@$(PIP) install $(PROJECT)
	@touch .venv/.runtime $@

# No index address may end up in a lock: each machine has its own. Versions stay where they are as far as
# pyproject.toml lets them, unless LOCK_FLAGS says otherwise.
COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(LOCK_FLAGS)

# The locks' own tool has an environment of its own: it must work when they don't.
.venv-lock/.ready: Makefile
	@echo "setting up .venv-lock with uv"
	@$(PYTHON) -m venv --clear .venv-lock
	@.venv-lock/bin/python -m pip --quiet --disable-pip-version-check --no-input install uv==0.13.9
	@touch $@
