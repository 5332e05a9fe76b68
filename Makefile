# The commands of this project; `make help` lists them. Each does its own set-up.
.DEFAULT_GOAL := help
ROTATIONS ?= 20
SECONDS ?= 60
export CARGO_TERM_COLOR ?= auto

.PHONY: help demo runbooks test interop bench generate check audit campaign-crash campaign-fuzz campaign-soak

help: ## List the commands
	@awk -F':.*## ' '/^[a-z -]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Watch a database password change under load (ROTATIONS=200 runs longer)
	@scripts/setup.sh postgresql
	@cargo build --quiet --workspace --bins
	@scripts/cargo-run.sh rekey-demo --rotations $(ROTATIONS)

runbooks: ## Run five teams' manual procedures as declared credentials, on real parts
	@scripts/setup.sh postgresql pgbouncer redis mariadb prometheus moto
	@scripts/runbooks.sh

test: ## Format, lints, tidy and all tests against what apt and cargo give
	@scripts/setup.sh postgresql pgbouncer redis mariadb rabbitmq prometheus moto
	@scripts/test.sh

interop: ## PostgreSQL 18, OpenBao, Kubernetes: real parts beyond apt (needs Maven, Go; first build 12 min)
	@scripts/setup.sh postgresql pgbouncer redis mariadb rabbitmq prometheus moto
	@scripts/interop.sh

bench: ## Ratios side by side in one run, into target/bench/local.json
	@scripts/setup.sh
	@cargo build --quiet --profile dist -p rekey-sidecar -p rekey-benches
	@scripts/cargo-run.sh --profile dist bench

campaign-crash campaign-fuzz campaign-soak: ## Look for what only time finds (SECONDS=3600)
	@scripts/setup.sh postgresql
	@cargo build --quiet --workspace --bins
	@scripts/cargo-run.sh campaign $(@:campaign-%=%) --seconds $(SECONDS)

generate: ## Write the generated code and documents anew
	REKEY_REGENERATE=1 cargo test -p rekey-proto --test generated
	REKEY_REGENERATE=1 cargo test -p rekey-controller schema
	REKEY_REGENERATE=1 cargo test -p rekey-controller page_of_roles

check: ## Format and lints only
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo clippy --workspace --test interop --all-features -- -D warnings

audit: ## Licences, bans and advisories (needs cargo-deny and its advisory database)
	cargo deny check
