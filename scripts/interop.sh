#!/usr/bin/env bash
# make interop: what needs more than apt, cargo and pip give. Today: the PostgreSQL suites on PostgreSQL 18, and what is
# tested against OpenBao and a Kubernetes API server, which are built from source once.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(tests/parts/postgres18.sh)
echo "== PostgreSQL 18 from $bin"
"$bin/postgres" --version
REKEY_BAO=$(tests/parts/openbao.sh)
REKEY_KUBE=$(tests/parts/kube.sh)
echo "== OpenBao from $REKEY_BAO, Kubernetes from $REKEY_KUBE"
"$REKEY_BAO" version
"$REKEY_KUBE" kube-apiserver --version
# The whole workspace is named so that what was built for `make test` serves here too.
export REKEY_BAO REKEY_KUBE REKEY_PG_BIN=$bin
exec scripts/sum.sh cargo test --workspace --all-features --no-fail-fast --lib --test drivers --test suite --test interop
