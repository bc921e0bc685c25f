# Everything starts here: `make run` and `make test` set up what they need, on a machine that
# has Python 3.11 or later and make. Nothing outside this folder is changed.
#
# Set-up leaves a stamp file in .venv for each thing done, so it is done once, and again only
# after its inputs changed. Keep it to what GNU make 3.81 knows: macOS ships that.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input install -qq
SAY := @echo "antiphon:"

WEB := $(shell find web -type f ! -path '*/node_modules/*' ! -path '*/test-results/*' 2>/dev/null)
ARGS ?= --workspace .
# One more than there are cores: many tests wait for processes.
WORKERS ?= $(shell python3 -c "import os; print((os.cpu_count() or 1) + 1)")

# An environment knows its own path and its Python: moved, or without that Python, it is made anew.
ifneq ($(shell test -x $(PY) && cat $(VENV)/.made 2>/dev/null),$(CURDIR))
$(shell rm -f $(VENV)/.made)
endif

.DEFAULT_GOAL := help
.PHONY: help setup run test test-long check bench prove faults web docs pictures lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.dev $(VENV)/.page ## make .venv and the page, all that the other targets need

run: $(VENV)/.page ## start the server on this folder; ARGS="--port 0" changes its arguments
	@exec $(VENV)/bin/antiphon serve $(ARGS)

test: $(VENV)/.dev $(VENV)/.page ## the tests that take less than five minutes
	$(PY) -m pytest -q -n $(WORKERS) --dist worksteal -m "not long and not browser"

test-long: $(VENV)/.dev $(VENV)/.page ## more seeds, loops and kills, and a real browser
	$(PY) -m pytest -q -m "long or browser"

check: $(VENV)/.dev web/node_modules/.installed ## format, lint, types, layers, front end, generated files
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/basedpyright --pythonpath $(PY)
	$(VENV)/bin/lint-imports
	$(PY) tools/adr_index.py --check
	$(PY) tools/protocol_types.py --check
	$(PY) tools/npm.py run check
	$(PY) tools/npm.py test

bench: $(VENV)/.page ## measure the bus on this machine
	@$(VENV)/bin/antiphon bench bus --json

prove: $(VENV)/.dev $(VENV)/.page ## kill, fill and flood a real server, and count what is left
	$(PY) -m benchmarks.prove

faults: $(VENV)/.dev ## put known faults into a copy of the sources, and see a test fail for each
	$(PY) tools/faults.py

web: $(VENV)/.run ## build the page anew
	@rm -f $(VENV)/.page
	@$(MAKE) --no-print-directory $(VENV)/.page

docs: $(VENV)/.dev ## write the generated pages anew, and run the code in all of them
	$(PY) tools/adr_index.py
	$(PY) -m pytest -q tests/docs

pictures: $(VENV)/.dev $(VENV)/.page ## take the pictures of the README anew; needs chromium
	$(PY) -m tools.pictures

lock: ## write the Python locks anew from pyproject.toml
	@sh tools/lock.sh

clean: ## remove all that was made here, but no data
	rm -rf $(VENV) web/node_modules src/antiphon/web dist build reports
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- set-up, each step once ------------------------------------------------------------------

$(VENV)/.made: tools/venv.sh
	@sh tools/venv.sh $(VENV)
	@echo "$(CURDIR)" > $@

$(VENV)/.run: requirements.lock requirements-build.lock $(VENV)/.made
	$(SAY) "installing what the server needs (about a minute, once)"
	@$(PIP) -r requirements.lock -r requirements-build.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(SAY) "installing what tests and checks need (about a minute, once)"
	@$(PIP) -r requirements-dev.lock
	@touch $@

# The build hook of the package makes the page; the tools that it needs are locked above.
$(VENV)/.page: pyproject.toml hatch_build.py README.md $(WEB) $(VENV)/.run
	$(SAY) "building the page (about a minute the first time)"
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# What the page is built with is also what checks it; the hook installs it.
web/node_modules/.installed: | $(VENV)/.page
	@test -f $@ || { rm -f src/antiphon/web/.stamp && $(PIP) --no-deps --no-build-isolation -e .; }
