#!/usr/bin/env bash
# make test: format, lints, then every test of the workspace; ends with one line that sums the runs up.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "== format"
cargo fmt --all --check
echo "== lints"
cargo clippy --quiet --workspace --all-targets --all-features -- -D warnings
# `make interop` alone runs these, and `--all-targets` leaves them out.
cargo clippy --quiet --workspace --test interop --all-features -- -D warnings
echo "== documentation"
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --quiet --workspace --all-features --no-deps --document-private-items
echo "== tests"
exec scripts/sum.sh cargo test --workspace --all-features --no-fail-fast
