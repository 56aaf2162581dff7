# Evenkeel. `make help` lists every target.
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := UV_PROJECT_ENVIRONMENT=$(CURDIR)/$(VENV) $(BIN)/uv
# Inexact: what an extra has brought stays.
SYNC := $(UV) sync --frozen --quiet --inexact --no-install-project --no-progress
BENCHMARKS := append ledger rate_limiter timetravel resilience gateway memory

.DEFAULT_GOAL := help
.PHONY: help install demo test services services-stop test-services bench check lint format types imports schema lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv and install from the lock

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "Evenkeel needs Python 3.11, 3.12 or 3.13, and %s is %d.%d. Name another one: make PYTHON=python3.11" % (sys.executable, *v))'
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(STAMP): $(BIN)/uv pyproject.toml uv.lock
	@echo "Installing from uv.lock"
	@$(SYNC)
	@touch $@

demo: $(STAMP) ## Run the platform on embedded defaults and play its story (PORT=0: any free port)
	@exec $(BIN)/python manage.py quickstart $(if $(PORT),--port $(PORT))

test: $(STAMP) ## Run the whole suite on embedded defaults (ARGS: for pytest)
	$(BIN)/python -m pytest $(ARGS)

services: $(STAMP) ## Start real services on this machine, without Docker
	@$(BIN)/python -m deploy.local start
	@$(SYNC) --extra mysql

services-stop: $(STAMP) ## Stop them; their data stays in .services
	@$(BIN)/python -m deploy.local stop

test-services: $(STAMP) ## Run the whole suite on the real services (ARGS: for pytest)
	@test -f .services.env || { echo "No services are running: make services" >&2; exit 1; }
	set -a && . ./.services.env && $(BIN)/python -m pytest $(ARGS)

bench: $(STAMP) ## Measure beside peers, and write docs/benchmarks.md (ARGS=--quick)
	@$(SYNC) --group bench --extra mysql
	@set -e; for script in $(BENCHMARKS); do \
		$(BIN)/python benchmarks/$$script.py $(ARGS) --json var/bench/$$script.json; \
	done
	@$(BIN)/python benchmarks/document.py

check: lint types imports schema ## Lint, types, import contracts, migrations, lock

lint: $(STAMP) ## Lint, and check the format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## Check the types
	$(BIN)/python -m mypy

imports: $(STAMP) ## Check the direction of imports
	$(BIN)/lint-imports

schema: $(STAMP) ## Check that migrations and lock are up to date
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(UV) lock --check --quiet

lock: $(BIN)/uv ## Resolve the dependencies anew into uv.lock
	$(UV) lock --upgrade

clean: ## Stop the services; remove the virtual environment and all data
	@test ! -d .services || test ! -x $(BIN)/python || $(BIN)/python -m deploy.local stop
	rm -rf $(VENV) var .services .services.env
