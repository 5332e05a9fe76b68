#!/usr/bin/env bash
# make interop: what needs more than apt, cargo and pip give. Today: the PostgreSQL suites on PostgreSQL 18.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(tests/parts/postgres18.sh)
echo "== PostgreSQL 18 from $bin"
"$bin/postgres" --version
# The whole workspace is named so that what was built for `make test` serves here too.
REKEY_PG_BIN=$bin exec scripts/sum.sh cargo test --workspace --all-features --no-fail-fast --lib --test drivers --test suite
