# `make` alone explains the targets. Nothing has to be installed first but git, make and Python 3.11.

PYTHON ?= python3
RUN := .venv/bin/python
SEEDS ?= 1,2,3,4,5
SHOP_ORDERS ?= 2000
# Half of the suite's time is waiting, so more than there are cores.
PROCESSES ?= 3
CHAOS := tests/chaos/test_chaos.py
SET_UP := $(PYTHON) -I local/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help setup broker broker-if-possible browser receivers pgbouncer demo dev test chaos defences check format schema events plans nouns redteam bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "Each does its own set-up. To use your services: DATABASE_URL=..., AMQP_URL=..."

setup: ## make .venv with the locked packages; the others do this themselves
	@$(SET_UP)

broker:  # also with an AMQP_URL: the suite kills the brokers that it tests with
	@AMQP_URL= $(SET_UP) --rabbitmq

broker-if-possible:
	@$(SET_UP) --rabbitmq --optional

demo: setup broker-if-possible ## start the product, hold a conversation with it, show what it did
	@exec $(RUN) -m local.demo

dev: setup broker-if-possible ## start the product and keep it running, with a page to chat with it
	@exec $(RUN) -m local.dev

browser:  # the page of `make dev` is tested in one; without, those tests say what to install
	@$(SET_UP) --chromium --optional

receivers:  # Node and PHP run what docs/webhooks.md gives tenants; without, those tests say so
	@$(SET_UP) --receivers --optional

pgbouncer: setup  # the suite holds the product to working behind one
	@$(RUN) -m local.servers.pgbouncer

test: setup broker browser receivers pgbouncer ## run the test suite; pytest's options in ARGS="-k servers -x"
ifdef ARGS
	@exec $(RUN) -m pytest $(ARGS)
else
	@$(RUN) -m pytest -n $(PROCESSES) --deselect $(CHAOS)
	@$(RUN) -m pytest $(CHAOS)  # alone: its seconds mean something only with the machine to itself
endif

chaos: setup broker ## kill everything while messages and orders come in, and count what was lost or doubled
	@$(RUN) -m tests.chaos --seeds $(SEEDS)
	@SHOP_ORDERS=$(SHOP_ORDERS) exec $(RUN) -m pytest -q -s tests/e2e/test_shop.py

defences: setup broker ## take out one defence after the other; does a test notice each?
	@exec $(RUN) -m tests.defences $(ARGS)

check: setup ## format, lint, types and import rules, in seconds
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy
	@.venv/bin/lint-imports

format: setup ## format the code and repair what the linter can
	@$(RUN) -m ruff format .
	@$(RUN) -m ruff check --fix .

schema: setup ## write db/schema.sql anew, after a migration
	@exec $(RUN) -m local.schema

events: setup ## write docs/events.md and docs/events.schema.json anew, after an event was added
	@exec $(RUN) -m tests.deliveries.documents
plans: setup ## write the table of docs/plans.md anew, after a key of the plan
	@exec $(RUN) -m tests.plans_page
nouns: setup ## write the table of docs/testing.md anew, after an endpoint was added
	@exec $(RUN) -m tests.api.nouns
redteam: setup ## write the table of docs/red-team.md anew, after an attack was added
	@exec $(RUN) -m tests.redteam.page

bench: broker ## product beside a bare floor, some named in ARGS="ingress turn"; half an hour
	@$(SET_UP) --bench
	@exec $(RUN) -m bench $(ARGS)

lock: setup ## update uv.lock to the newest versions that pyproject.toml allows, and install them
	@.venv/uv/bin/uv lock --upgrade --python $(RUN)
	@$(SET_UP)

clean: ## remove .venv and every cache
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
