# Everything happens in a private environment inside this clone (.venv): no root, no Docker.
# Set-up runs once, and again only when pyproject.toml or a lock file changes.
# Another Python: make PYTHON=python3.12 demo

NEEDED := import sys; sys.exit(sys.version_info < (3, 11))
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c '$(NEEDED)' 2>/dev/null && echo $$p && break; done)

# The stack and the tests start programs by the hundred; none of them should have to compile what the last one did.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
RUN := $(VENV)/bin/python -m
INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-compile
# A lock file holds all that is needed, so nothing is looked up beside it: pip's resolver asks for the newest version of
# what is required with an extra, finds no hash for it, and gives up on the day that one is published.
LOCKED := $(INSTALL) --no-deps --require-hashes -r
COMPLETE := $(VENV)/bin/python -m pip check --quiet --disable-pip-version-check
# What pip would do, but with all cores.
COMPILE := $(VENV)/bin/python -m compileall -qq -j 0 $(VENV)/lib worker crm_bridge wasender_sandbox
PRINT := $(VENV)/bin/python -c 'import tomllib; read = tomllib.load(open("pyproject.toml", "rb")); print
LOCK := CUSTOM_COMPILE_COMMAND='make lock' $(RUN) piptools compile --quiet --upgrade --generate-hashes --strip-extras \
	--allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --annotation-style line
COVERAGE := --cov=worker --cov=crm_bridge --cov=wasender_sandbox
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo up test coverage chaos check bench lock wheel clean

help: ## Say what can be run
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 15

demo: $(VENV)/.installed ## Play the story: an outage, a queue that waits, ticks, and the proof (no account needed)
	@$(RUN) worker.cli.app demo $(ARGS)

up: $(VENV)/.installed ## Run the whole stack on this machine until Ctrl-C
	@$(RUN) worker.cli.app up $(ARGS)

# Tests that measure time need little of the machine, but at once: they run after all others.
test: $(VENV)/.installed-dev ## Run all tests (ARGS="-k window" runs some of them)
ifeq ($(strip $(ARGS)),)
	@$(RUN) pytest --numprocesses 4 -m "not timed"
	@$(RUN) pytest --numprocesses 4 -m timed
else
	@$(RUN) pytest $(ARGS)
endif

# Tracing every line doubles what the tests cost, and would disturb those that measure.
coverage: $(VENV)/.installed-dev ## Run the tests and show which lines they reach (takes half as long again)
	@$(RUN) pytest $(COVERAGE) --cov-report=term:skip-covered --numprocesses 4 -m "not timed" $(ARGS)

chaos: $(VENV)/.installed-dev ## Break everything hundreds of times while messages flow, and judge by what WhatsApp has
	@$(RUN) tests.chaos $(ARGS)

check: $(VENV)/.installed-dev ## Lint, format, types and the direction of imports
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(VENV)/bin/lint-imports

bench: $(VENV)/.installed-dev ## Measure on this machine
	@$(RUN) tests.bench $(ARGS)

# Beside what pyproject.toml names: what builds the editable install, and what redis needs on Python before 3.11.3.
lock: $(VENV)/.installed-dev ## Resolve all dependencies anew into the two lock files
	@{ $(PRINT)(*read["build-system"]["requires"], "async-timeout", sep="\n")'; } \
		| $(LOCK) --output-file requirements.lock pyproject.toml -
	@{ $(PRINT)(*read["dependency-groups"]["dev"], sep="\n")'; } \
		| $(LOCK) --constraint requirements.lock --output-file requirements-dev.lock -

wheel: $(VENV)/.installed-dev ## Build the wheel into dist/
	@$(RUN) build --wheel --no-isolation --outdir dist .

clean: ## Remove the environment and everything that was built (not var/, where messages live)
	rm -rf $(VENV) dist build htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(or $(PYTHON),false) -c '$(NEEDED)' 2>/dev/null || { \
		echo "Truetick needs Python 3.11 or newer, and $(or $(PYTHON),python3) is older or missing. Install one," \
			"or name one that you have: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; }
	@echo "Setting up $(VENV) (once; about a minute)" >&2
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu install the package python3-venv," \
			"or name another Python: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made requirements.lock pyproject.toml
	@$(LOCKED) requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@$(COMPLETE)
	@$(COMPILE) || true # a package may hold files for other Pythons
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "Installing the development tools (once)" >&2
	@$(LOCKED) requirements-dev.lock
	@$(COMPLETE)
	@$(COMPILE) || true
	@touch $@
