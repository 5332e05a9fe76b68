#!/usr/bin/env bash
# Runs a built binary of the workspace by its name: cargo-run.sh [--profile P] NAME [ARGUMENTS]
set -euo pipefail
profile=debug
if [ "${1:-}" = --profile ]; then profile=$2; shift 2; fi
name=$1; shift
exec "${CARGO_TARGET_DIR:-target}/$profile/$name" "$@"
