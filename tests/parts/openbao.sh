#!/usr/bin/env bash
# Builds OpenBao (server and client, Vault's API) into the cache and prints the path of its program, for REKEY_BAO:
#   REKEY_BAO=$(tests/parts/openbao.sh) cargo test -p rekey-drivers --test openbao
set -euo pipefail
version=2.4.0
exec "$(dirname "$0")/go-part.sh" openbao bao "$version" \
  "-X github.com/openbao/openbao/version.fullVersion=$version"
