# Thin on purpose: the work is in cargo, in xtask and in the convene binary.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# Where rustup puts cargo, for shells that did not read its profile.
export PATH := $(PATH):$(HOME)/.cargo/bin

CONVENE := cargo run --quiet --package convene-api --bin convene --

.PHONY: help setup run demo test test-unit test-e2e fmt lint check ci bench load chaos openapi lint-api walk clients fuzz-api \
    migration new-module clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what this machine lacks
	@scripts/setup.sh

run: export CONVENE_PROFILE ?= embedded
run: ## Serve API and worker in one process, with a private PostgreSQL (CONVENE_PROFILE=embedded)
	@scripts/setup.sh run
	@$(CONVENE) run

demo: ## Walk through the story over HTTP against a running `make run`
	@cargo run --quiet --package convene-demo

test: setup ## Run all tests against real servers; private ones are started where none run
	@if cargo nextest --version >/dev/null 2>&1; then \
	    set -x; cargo nextest run --workspace $${CI:+--profile ci} && cargo test --workspace --doc; \
	else \
	    set -x; cargo test --workspace; \
	fi

test-unit: ## Run the tests that need no server
	cargo test --workspace --exclude convene-infrastructure --exclude convene-tests --lib --bins

test-e2e: setup ## Run the end-to-end and fault tests
	cargo test --package convene-tests

fmt: ## Format the code
	cargo fmt --all

lint: ## Check format, lints and structure
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo xtask arch

check: ## Compile everything without building it
	cargo check --workspace --all-targets

ci: ## Do all that CI does
	.ci/run

bench: ## Measure the hot paths against their base lines, on private servers
	@scripts/setup.sh
	cargo build --release --quiet --package convene-api --package convene-bench
	@"$${CARGO_TARGET_DIR:-target}/release/convene-bench"

load: ## Send four times the load that the server can bear, on private servers
	@scripts/setup.sh
	cargo build --release --quiet --package convene-api --package convene-bench
	@"$${CARGO_TARGET_DIR:-target}/release/convene-bench" overload

chaos: SECONDS ?= 60
chaos: setup ## Inject faults by a seed under a load, and check what must hold: make chaos SEED=7 SECONDS=60
	@scripts/chaos.sh '$(SECONDS)' $(SEED)

openapi: ## Write docs/openapi.json, docs/asyncapi.json and docs/schema.sql anew
	cargo xtask snapshots --update

lint-api: ## Hold docs/openapi.json and docs/asyncapi.json against public rules
	@scripts/lint-api.sh

walk: ## Walk through the API with Hurl, on a server of its own
	@scripts/hurl.sh

clients: ## Generate clients in TypeScript and Rust, compile them and let them call a server
	@scripts/clients.sh

fuzz-api: setup ## Send 20,000 made-up requests and hold the answers against the document (FUZZ_CASES=)
	@scripts/fuzz-api.sh

migration: ## Create a database migration: make migration NAME=add_event_tags
	@cargo xtask migration '$(NAME)'

new-module: ## Create a feature module in every layer: make new-module NAME=announcement
	@cargo xtask new-module '$(NAME)'

clean: ## Remove what was built; data in .convene stays
	cargo clean
