# Everything a person types. Works with make 3.81 (macOS) and later; needs Python 3.11 or later and nothing else.
# PYTHON=python3.12 chooses the Python; settings are read from .env and the environment, for example PORT=9000 make run.

PYTHON ?=
export PYTHON
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run setup install test chaos check clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile

run: setup ## Set up what is missing and run everything; Ctrl-C stops it
	@exec $(BIN)/python manage.py up --follow-parent

setup: install ## Install, write .env, prepare the database and the first administrator
	@$(BIN)/python -I project/environment.py
	@$(BIN)/python manage.py prepare

install: ## Install the packages into .venv, where requirements.txt has changed
	@sh project/install.sh requirements.txt

test: install ## Run the tests
	@$(BIN)/python -m pytest

chaos: install ## Kill everything while it works, and prove that nothing is lost; CHAOS=--help lists the options
	@$(BIN)/python -m tests.chaos $(CHAOS)

check: ## Run the linters, the type checker and the checks of the settings and migrations
	@sh project/install.sh requirements.txt requirements-dev.txt
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --cache-dir=/dev/null # the Django plugin stumbles over its own cache
	$(BIN)/lint-imports
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py makemigrations --check --dry-run
	NIGHTJAR_ENV_FILE=/dev/null SECRET_KEY="$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))')" \
		CAMERA_KEYS="$$($(BIN)/python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())')" \
		HTTPS=true ALLOWED_HOSTS=nightjar.example $(BIN)/python manage.py check --deploy --fail-level WARNING

clean: ## Remove .venv and the tools' caches; the data and .env stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage .coverage.*
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +
