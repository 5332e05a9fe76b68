#!/usr/bin/env bash
# Builds the Kubernetes API server, its controller manager, etcd and kubectl, all in one program, into the cache and
# prints its path, for REKEY_KUBE (the first argument says which it is):
#   REKEY_KUBE=$(tests/parts/kube.sh) cargo test -p rekey-drivers --test kube
set -euo pipefail
version=1.36.3
about=k8s.io/component-base/version
exec "$(dirname "$0")/go-part.sh" kube kubebits "$version" \
  "-X $about.gitVersion=v$version -X $about.gitMajor=1 -X $about.gitMinor=36 -X $about.gitCommit=unknown -X $about.gitTreeState=clean"
