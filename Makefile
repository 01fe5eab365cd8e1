# `make` lists the targets, from the comment behind each.
.DEFAULT_GOAL := help
.PHONY: help setup housekeeping demo start stop status logs env reset test check unit integration journeys chaos-short \
	dead-letters fuzz coverage migrate device waitlist-export waitlist-import token lock proto up rebuild down chaos load \
	bench-path bench-writer bench-ingest bench-narrow bench-messages bench-latency bench-connections \
	bench-outage bench-fleets bench-size bench-telemetry bench-registry bench-enrol bench-erasure
SHELL := /bin/bash
PYTHON := .venv/bin/python
RUN := PATH="$(CURDIR)/.venv/bin:$$PATH"
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo .local/compose/docker-compose)
LOCK := uv pip compile -q pyproject.toml --universal --generate-hashes --no-header --python-version 3.11
WORKERS ?= 4
DEV := -f compose/docker-compose.yml

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: servers, Java, Node, .venv, Kafka's jars, Compose v2
	@scripts/setup.sh

demo: setup ## Everything with a small fleet and a live view; Ctrl-C ends it (DURATION=120 ends it by itself, SPEED=60 hurries the hardware)
	@$(PYTHON) -m scripts.demo $(if $(DURATION),--duration $(DURATION)) $(if $(SPEED),--speed $(SPEED))

start: setup ## Start PostgreSQL, Redis, Mosquitto, Kafka and the services in the background (GATEWAYS=2 WRITERS=2 for two of each)
	@$(if $(GATEWAYS),GATEWAYS=$(GATEWAYS)) $(if $(WRITERS),WRITERS=$(WRITERS)) $(PYTHON) -m scripts.local up

stop: ## End all of that; the data stays
	@$(PYTHON) -m scripts.local down

status: ## What runs: pid, port, since when, log file
	@$(PYTHON) -m scripts.local status

logs: ## Follow the logs (PART=kafka for one)
	@$(PYTHON) -m scripts.local logs $(PART)

env: ## Print the variables for a shell of your own: eval "$(make -s env)"
	@$(PYTHON) -m scripts.local env

reset: ## Remove the local data and logs; asks first unless YES=1
	@$(PYTHON) -m scripts.local reset $(if $(filter 1,$(YES)),--yes)

migrate: ## Apply the migrations to the local database, or to DATABASE_URL
	@$(if $(DATABASE_URL),,eval "$$($(PYTHON) -m scripts.local env)" &&) $(PYTHON) -m db.migrate

housekeeping: ## Once what the writer does for the telemetry tables (SINCE=2026-11-01: all rollups since then anew)
	@$(if $(DATABASE_URL),,eval "$$($(PYTHON) -m scripts.local env)" &&) \
		$(PYTHON) -m services.ingest housekeeping $(if $(SINCE),--since "$(SINCE)")

device: ## Register a device (and its tenant): TENANT=tenant-a DEVICE=sensor-001
	@$(PYTHON) -m scripts.device --tenant "$(TENANT)" --device "$(DEVICE)"

waitlist-export: ## Print the waitlist, a line of JSON an entry: TENANT=tenant-a
	@$(PYTHON) -m scripts.waitlist --tenant "$(or $(TENANT),default)" export

waitlist-import: ## Add the entries of a file of JSON lines that are not there yet: TENANT=tenant-a FILE=waitlist.jsonl
	@$(PYTHON) -m scripts.waitlist --tenant "$(or $(TENANT),default)" import "$(FILE)"

dead-letters: ## What ingest could not use: CMD="list --since 1d" (default: list), CMD="explain 42", CMD="replay 42"
	@eval "$$($(PYTHON) -m scripts.local env)" && $(PYTHON) -m services.ingest dead-letters $(or $(CMD),list)

token: ## Print a development token for the API: TENANT=tenant-a ROLE=customer USER=me
	@eval "$$($(PYTHON) -m scripts.local env)" && \
		$(PYTHON) -m services.api token --tenant "$(TENANT)" --role "$(ROLE)" --user "$(USER)"

test: setup ## All that can run: check, unit, integration, journeys, short chaos runs
	@$(MAKE) --no-print-directory -j2 -Oline check unit
	@$(MAKE) --no-print-directory integration journeys chaos-short

check: ## Lint, format, types, architecture, compose files, generated code
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	@scripts/check_compose.sh
	@scripts/check_proto.sh

unit: ## Unit tests; no service is needed
	$(PYTHON) -m pytest tests/unit -v

integration: ## Integration tests on real servers (WORKERS=4 files side by side)
	$(PYTHON) -m pytest tests/integration -v -n $(WORKERS) --dist loadfile

journeys: ## Journey tests: the whole platform, started and killed
	$(PYTHON) -m pytest tests/journeys -v -n $(WORKERS) --dist loadfile

fuzz: setup ## Hostile messages among good ones: what is lost, and whether all refusals are counted (MESSAGES=1000000 SEED=1)
	MESSAGES=$(or $(MESSAGES),100000) SEED=$(or $(SEED),1) $(PYTHON) -m pytest tests/integration/ingest/test_ingest_fuzz.py -v -s

chaos-short: ## Three short chaos runs side by side: every part killed five times; networks; disks and clocks
	$(PYTHON) -m pytest tests/chaos -v -n $(WORKERS) --dist loadfile

coverage: ## Unit tests with coverage, into htmlcov/index.html
	$(PYTHON) -m pytest --cov=services --cov=edge_agent --cov=overwatt tests/unit --cov-report=html --cov-report=term

proto: ## Write the Python code of proto/overwatt/v1/*.proto again
	$(PYTHON) -m grpc_tools.protoc -Iproto --python_out=proto --pyi_out=proto proto/overwatt/v1/*.proto

lock: ## Write requirements.txt, and the three derived from it for the images, from pyproject.toml (needs uv)
	$(LOCK) --all-extras --group dev -o requirements.txt
	$(LOCK) --no-annotate -c requirements.txt -o services/requirements.txt \
		$(foreach part,ingest controller provisioning api escalation migrate,--extra $(part))
	$(LOCK) --no-annotate -c requirements.txt -o edge_agent/requirements.txt --extra edge
	$(LOCK) --no-annotate -c requirements.txt -o edge_agent/fleet/requirements.txt --extra edge --extra fleet

up: ## The same platform in Docker, with EMQX and TimescaleDB
	$(if $(GATEWAYS),GATEWAYS=$(GATEWAYS)) $(COMPOSE) $(DEV) $(if $(filter 2,$(GATEWAYS)),--profile replicas) up -d --build --wait $(if $(WRITERS),--scale ingest-writer=$(WRITERS))

rebuild: ## Build all images again and replace what runs from them
	$(COMPOSE) $(DEV) build && $(COMPOSE) $(DEV) up -d

down: ## End the one in Docker; its volumes stay
	$(COMPOSE) $(DEV) down

chaos: setup ## Kill, freeze, cut, fill and flood each part, and compare ledgers with rows: SEED=1 FAULTS=40 OUTAGE=60 AT_ONCE=2 (DOCS=1 writes docs/chaos.md)
	@$(PYTHON) -m scripts.chaos $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) \
		$(if $(OUTAGE),--outage $(OUTAGE)) $(if $(AT_ONCE),--at-once $(AT_ONCE)) $(if $(GROUPS),--groups $(GROUPS)) $(if $(filter 1,$(DOCS)),--docs)

load: ## Agents or simple devices against what runs: SENDERS=100 SHAPE=batch INTERVAL=10 DURATION= TLS=1 RESULT=load.json (see --help)
	@eval "$$($(PYTHON) -m scripts.local env)" && $(PYTHON) -m scripts.load $(if $(SENDERS),--senders $(SENDERS)) \
		$(if $(SHAPE),--shape $(SHAPE)) $(if $(INTERVAL),--interval $(INTERVAL)) $(if $(DURATION),--duration $(DURATION)) \
		$(if $(OUTAGE_EVERY),--outage-every $(OUTAGE_EVERY)) $(if $(OUTAGE),--outage $(OUTAGE)) \
		$(if $(filter 1,$(TLS)),--authority "$$OVERWATT_HOME/authority") $(if $(RESULT),--result $(RESULT))

bench-path: setup ## How long a sample takes to its row, and a dispatch to power (JSON and a line)
	@$(PYTHON) -m scripts.bench_path

bench-writer: setup ## CPU of the writer per row of an agent's batch (JSON and a line)
	@$(PYTHON) -m scripts.bench_writer

bench-ingest: setup ## Points a second from agents' batches to rows, beside raw COPY (MINUTES=2 PRELOAD=0 for less)
	@$(PYTHON) -m scripts.bench_ingest $(if $(MINUTES),--minutes $(MINUTES)) $(if $(PRELOAD),--preload $(PRELOAD))

bench-narrow: setup ## The same with metrics beyond the canonical quantities, a row each (MINUTES=2 for more)
	@$(PYTHON) -m scripts.bench_narrow $(if $(MINUTES),--minutes $(MINUTES)) $(if $(PRELOAD),--preload $(PRELOAD))

bench-messages: setup ## Single samples of simple devices, JSON of 3 and of 6 metrics: messages a second
	@$(PYTHON) -m scripts.bench_messages

bench-latency: setup ## From publish to acknowledged commit at 100,000 points/s, with two flush intervals
	@$(PYTHON) -m scripts.bench_latency

bench-connections: setup ## 19,000 agents on one broker, each sending every 10 s (AGENTS=2000 for less)
	@$(PYTHON) -m scripts.bench_connections $(if $(AGENTS),--agents $(AGENTS))

bench-outage: setup ## The writer killed for 10 minutes under load: how soon all is stored after (OUTAGE=60 for less)
	@$(PYTHON) -m scripts.bench_outage $(if $(OUTAGE),--outage $(OUTAGE))

bench-fleets: setup ## CPU for a million points with 1,000, 10,000 and 100,000 devices
	@$(PYTHON) -m scripts.bench_fleets

bench-size: setup ## Bytes that a point takes on disk
	@$(PYTHON) -m scripts.bench_size

bench-telemetry: setup ## All benchmarks of the telemetry path, in about 30 minutes, into docs/figures
	@$(PYTHON) -m scripts.bench_telemetry

bench-registry: setup ## A registry of 100,000 devices: the gateway's start and memory, and how fast a change is in force
	@$(PYTHON) -m scripts.bench_registry

bench-enrol: setup ## Enrolment: a call, how many a second, 1,000 at once, from link to first sample (JSON and a line)
	@$(PYTHON) -m scripts.bench_enrol

bench-erasure: setup ## One box of 1,000 with 50 million points: how long, and what ingest notices (POINTS=5000000 for less)
	@$(PYTHON) -m scripts.bench_erasure $(if $(POINTS),--points $(POINTS))
