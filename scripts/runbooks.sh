#!/usr/bin/env bash
# make runbooks: every row of examples/runbooks on real parts. What is built from source is built once, as for
# `make interop`; where that cannot be, the rows that need it are named at the end, and the run is no success.
set -euo pipefail
cd "$(dirname "$0")/.."
part() {
  local path
  if path=$("tests/parts/$2"); then export "$1=$path"; else unset "$1"; echo "$2 failed: rows that need it cannot run" >&2; fi
}
part REKEY_BAO openbao.sh
part REKEY_KUBE kube.sh
cargo build --quiet --workspace --bins
exec scripts/cargo-run.sh rekey-runbooks "$@"
