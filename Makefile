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

.PHONY: lab
lab: .venv/.dev build-lab ## a cluster of network namespaces with a real dataplane, to look around in (Linux, root)
	@$(BIN)/python -m testbed lab $(ARGS)

.PHONY: down
down: .venv/.dev ## end what `make up` or `make lab` started
	@$(BIN)/python -m testbed down $(ARGS)

##@ Test it

# LAB=required fails where the lab cannot run, and so proves that it did; ORACLES=, BROWSER= and MONITORING=required likewise.
BROWSER ?=
LAB ?=
MONITORING ?=
ORACLES ?=
.PHONY: test
test: test-unit site test-api test-bars ## everything: unit tests, the site, the tests on the real API server, performance, other evaluators, and packets where this machine can
	@if [ -n "$(BROWSER)" ] || reason=$$($(BIN)/python -m testbed can-browser); then \
		$(MAKE) --no-print-directory test-browser; else echo "tests/browser did not run: $$reason" >&2; fi
	@if [ -n "$(MONITORING)" ] || reason=$$($(BIN)/python -m testbed can-monitor); then \
		$(MAKE) --no-print-directory test-monitoring; else echo "tests/monitoring did not run: $$reason" >&2; fi
	@if [ -n "$(ORACLES)" ] || reason=$$($(BIN)/python -m testbed can-oracles); then \
		$(MAKE) --no-print-directory test-oracles CASES=500 SEED=0; \
		else echo "tests/oracles did not run: $$reason" >&2; fi
	@if [ -n "$(LAB)" ] || reason=$$($(BIN)/python -m testbed can-lab); then $(MAKE) --no-print-directory test-lab; \
		else echo "tests/lab did not run: $$reason" >&2; fi

.PHONY: test-unit
test-unit: .venv/.dev ## unit tests only, on every core (ARGS="-k cidrs" runs some)
	@$(BIN)/python -m pytest tests/unit -n auto --dist worksteal $(ARGS)

.PHONY: test-browser
test-browser: .venv/.dev site ## the page of an audit, and the site, in a real browser (Debian's chromium, or CHROMIUM=/path/to/one)
	@$(BIN)/python -m testbed can-browser
	@$(BIN)/python -m pytest tests/browser $(ARGS)

# ARGS="--picture docs/dashboard.png" draws the dashboard anew, with what Prometheus has seen by the end.
.PHONY: test-monitoring
test-monitoring: .venv/.dev build-testbed ## alerts, recording rules and the dashboard on a real Prometheus and Alertmanager (Debian's)
	@$(BIN)/python -m testbed can-monitor
	@$(BIN)/python -m pytest tests/monitoring $(ARGS)

# Four at once on any machine: these tests wait about as much as they compute, and measure how long things take.
# KUBERNETES=v1.31 takes the oldest Kubernetes that is supported; without it, the newest (testbed/building.py).
KUBERNETES ?=
export KUBERNETES
.PHONY: test-api
test-api: .venv/.dev build-testbed ## the tests on a real API server (KUBERNETES=v1.31: the oldest supported), with a soak of a minute, and of what the image holds
	@$(BIN)/python -m pytest tests/image tests/api tests/soak -n 4 --dist worksteal $(ARGS)

# Three at once: most of their time is waiting for what must not come. ARGS=--long takes every time fifty times.
.PHONY: test-lab
test-lab: .venv/.dev build-lab ## what packets do: kube-proxy, policy engines and the operator in network namespaces (Linux, root)
	@$(BIN)/python -m pytest tests/lab -n 3 $(ARGS)

# The same SEED asks the same questions; by default a new one, and the line says which.
CASES ?= 10000
SEED ?= $(shell date +%s)
.PHONY: test-oracles
test-oracles: .venv/.dev .venv-oracles/.ready build-oracles ## our evaluator against four others: CASES=10000 generated clusters, by SEED
	@echo "CASES=$(CASES) SEED=$(SEED)"
	@CASES=$(CASES) $(BIN)/python -m pytest tests/oracles -o faulthandler_timeout=0 --hypothesis-seed=$(SEED) $(ARGS)

HISTORIES ?= 50
.PHONY: test-histories
test-histories: .venv/.dev build-testbed ## HISTORIES=50 batches of long random histories, and all planted bugs (about an hour)
	@HISTORIES=$(HISTORIES) $(BIN)/python -m pytest tests/api/test_histories.py --long $(ARGS)

# The same SEED asks for the same edits and the same adversity; what comes of it is a race.
MINUTES ?= 60
.PHONY: soak
soak: .venv/.dev build-testbed ## MINUTES=60 of edits by many, faults and killed replicas: nobody gets in, nothing grows, all is right at the end
	@echo "MINUTES=$(MINUTES) SEED=$(SEED)"
	@MINUTES=$(MINUTES) SEED=$(SEED) $(BIN)/python -m pytest tests/soak --long -s $(ARGS)

N ?= 100 1000 5000 10000
ROUNDS ?= 3
.PHONY: bench
bench: .venv/.dev build-testbed ## the operator beside its rivals on the real control plane (N="100 1000" ROUNDS=3; hours at 10,000)
	@$(BIN)/python -m bench --n $(N) --rounds $(ROUNDS) $(ARGS)

# By itself, as nothing else may take the processors meanwhile; and shown, as a figure that is met has something to say too.
.PHONY: test-bars
test-bars: .venv/.dev build-testbed ## performance beside a bare client, by bars that only a real regression breaks
	@$(BIN)/python -m pytest tests/bench/test_bars.py --capture=no -o faulthandler_timeout=600 $(ARGS)

# Not part of `make test`: it says nothing about the operator that the other tests do not.
.PHONY: test-bench
test-bench: .venv/.dev build-testbed ## that the rivals of the benchmarks come to what the operator comes to, and that churn is what it says
	@$(BIN)/python -m pytest tests/bench --ignore=tests/bench/test_bars.py $(ARGS)

.PHONY: build-testbed
build-testbed: .venv/.dev ## build the real API server, etcd, controller manager, and tools that tests use (once; about 20 minutes on 2 cores)
	@$(BIN)/python -m testbed build

.PHONY: build-lab
build-lab: .venv/.dev ## the same, and kube-proxy and the policy engine
	@$(BIN)/python -m testbed can-lab
	@$(BIN)/python -m testbed build --lab

.PHONY: build-oracles
build-oracles: .venv/.dev ## build the program that asks the other evaluators written in Go
	@$(BIN)/python -m testbed build --oracles

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
docs: .venv/.dev ## write what is made from the code in docs/ and manifests/ anew
	@$(BIN)/python -m docs.generate

SPHINXOPTS ?=
# Warnings are errors: a link or an anchor that leads nowhere, and a page that nothing leads to.
SPHINX := .venv-docs/bin/python -m sphinx --quiet --fail-on-warning --nitpicky --conf-dir docs/html --doctree-dir build/doctrees
.PHONY: site
site: .venv-docs/.ready ## make the documentation site in build/site, and check every link inside it
	@rm -rf build/site build/doctrees
	@$(SPHINX) --builder html $(SPHINXOPTS) docs build/site

.PHONY: check-links
check-links: .venv-docs/.ready ## ask every address outside the site whether it is still there (needs the Internet)
	@$(SPHINX) --builder linkcheck $(SPHINXOPTS) docs build/links

.PHONY: lock
lock: .venv-lock/.ready ## write requirements/*.lock anew from pyproject.toml (LOCK_FLAGS=--upgrade for the newest versions)
	@$(COMPILE) --group build --output-file requirements/runtime.lock pyproject.toml
	@$(COMPILE) --group dev --constraint requirements/runtime.lock --output-file requirements/dev.lock pyproject.toml
	@$(COMPILE) --group pyproject.toml:oracles --output-file requirements/oracles.lock
	@$(COMPILE) --group pyproject.toml:docs --output-file requirements/docs.lock

##@ Release it

.PHONY: version
version: .venv/.dev ## say where the version stands and whether all places agree; VERSION=0.2.0 changes them all
	@$(BIN)/python -m release.version $(VERSION)

.PHONY: dist
dist: .venv/.dev ## sdist and wheel of the commit that is checked out, reproducible, into dist/
	@$(BIN)/python -m release.dist

.PHONY: sbom
sbom: .venv/.dev ## list what the image holds (CycloneDX), into dist/
	@$(BIN)/python -m release.sbom

.PHONY: release-dry-run
release-dry-run: ## all of a release but what leaves this machine, from two clean clones of the commit that is checked out
	@release/dry-run.sh

# PLUGIN_URL is the folder from which users will download the archives; only you know it.
PLUGIN_URL ?=
.PHONY: plugin
plugin: .venv/.dev ## the krew plugin `kubectl npap` for all platforms, into dist/ (PLUGIN_URL=https://... of the release)
	@if [ -z "$(PLUGIN_URL)" ]; then echo "make plugin PLUGIN_URL=https://...: where will the archives be?" >&2; exit 1; fi
	@$(BIN)/python -m plugin.build --url "$(PLUGIN_URL)" $(ARGS)

##@ Clean up

.PHONY: clean
clean: ## remove .venv and everything generated (the built API server stays in your cache folder)
	@rm -rf .venv .venv-lock .venv-oracles .venv-docs .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	@rm -rf operator/*.egg-info
	@find docs image operator plugin release testbed tests -name __pycache__ -type d -prune -exec rm -rf {} +

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

# What the tests ask for a second opinion; a folder that was moved makes it anew.
.venv-oracles/.ready: requirements/oracles.lock .venv/pyvenv.cfg
	@echo "installing requirements/oracles.lock into .venv-oracles"
	@$(PYTHON) -m venv --clear .venv-oracles
	@.venv-oracles/bin/python -m pip --quiet --disable-pip-version-check --no-input install $(LOCKED) requirements/oracles.lock
	@touch $@

# What makes the site.
.venv-docs/.ready: requirements/docs.lock .venv/pyvenv.cfg
	@echo "installing requirements/docs.lock into .venv-docs"
	@$(PYTHON) -m venv --clear .venv-docs
	@.venv-docs/bin/python -m pip --quiet --disable-pip-version-check --no-input install $(LOCKED) requirements/docs.lock
	@touch $@

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
