# Every target sets up what it needs, on a fresh Debian machine too: see `make help`.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WITH_ENGINE := $(BIN)/python scripts/engine.py run --
WORKERS ?= auto
ARGS ?=

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY)  ## Make the virtual environment in .venv, with exactly the packages of requirements-dev.lock

$(READY): pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed, for example: make PYTHON=python3.13")'
	@scripts/packages.sh setup
	@echo "Setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes -r requirements-dev.lock
	@# On all processors, and without the AWS provider's schema, of which nothing is imported: half of pip's time.
	@# Some packages carry files for other Pythons, which can't be compiled: that is no failure.
	@$(BIN)/python -m compileall -q -j 0 -x '/cdktn_' $(VENV)/lib || true
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: setup  ## Deploy the branches of a small repository and leave their URLs up
	@scripts/packages.sh run
	@$(BIN)/python scripts/engine.py ensure
	@$(BIN)/python demo/demo.py up

.PHONY: demo-down
demo-down: setup  ## Remove the demo and all that was started for it
	@$(WITH_ENGINE) $(BIN)/python demo/demo.py down
	@$(BIN)/python scripts/engine.py release

.PHONY: demo-aws
demo-aws: setup  ## The same on Amazon ECS, emulated on this machine; it leaves nothing
	@scripts/packages.sh run
	@PYTHONPATH=. $(WITH_ENGINE) $(BIN)/python demo/demo_aws.py

.PHONY: test
test: setup  ## Run every test against a real engine; ARGS="tests/unit -k slug" for some of them
	@scripts/packages.sh run test
	@$(WITH_ENGINE) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=15 $(ARGS)

.PHONY: bench
bench: setup  ## Measure against bare Docker and other routers; the table goes into docs/benchmarks.md
	@scripts/packages.sh run bench
	@$(WITH_ENGINE) $(BIN)/python -m bench $(ARGS)

.PHONY: check
check: lint types architecture  ## Lint, type-check, and hold the layers apart

.PHONY: lint lint-style lint-format lint-shell lint-tree
lint: lint-style lint-format lint-shell lint-tree  ## Style of Python and shell, and the rules of the tree
lint-style: setup
	@$(BIN)/ruff check --quiet .
lint-format: setup
	@$(BIN)/ruff format --check --quiet .
lint-shell: setup
	@$(BIN)/shellcheck scripts/*.sh bench/*.sh .ci/run
lint-tree: setup
	@$(BIN)/python scripts/check_tree.py

.PHONY: format
format: setup  ## Bring the Python files into shape
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

.PHONY: types
types: setup  ## basedpyright: strict for src, basic for the rest
	@$(BIN)/basedpyright --level warning

.PHONY: architecture
architecture: setup  ## import-linter: the contracts in pyproject.toml
	@$(BIN)/lint-imports

.PHONY: lock
lock: setup  ## Write the lock files after a change in pyproject.toml; UPGRADE=--upgrade for newer versions
	@$(BIN)/uv pip compile $(LOCK) pyproject.toml --group dev -o requirements-dev.lock
	@$(BIN)/uv pip compile $(LOCK) pyproject.toml -c requirements-dev.lock -o requirements.lock

LOCK = --quiet --no-config --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" $(UPGRADE)

.PHONY: clean
clean:  ## Remove what the other targets made here, the virtual environment too
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build site
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
