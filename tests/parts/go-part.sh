#!/usr/bin/env bash
# Builds a Go program of this folder once, into the cache, and prints its path; the scripts beside it call this.
#   go-part.sh FOLDER PROGRAM VERSION LDFLAGS
# What was built from the same sources is taken as it is. Two runs at once: the second waits for the first.
set -euo pipefail
folder=$1 program=$2 version=$3 ldflags=$4
cd "$(dirname "$0")/$folder"
command -v go >/dev/null || {
  echo "go is missing: $folder $version is built from source with Go $(sed -n 's/^go //p' go.mod) or later, from https://go.dev/dl" >&2
  exit 1
}
# Root's tests run the server as another user, who must be able to reach its program: not below a closed /root.
home=$HOME/.cache
[ "$(id -u)" != 0 ] || home=/var/cache
cache=${XDG_CACHE_HOME:-$home}/rekey
sources=$({ cat go.mod go.sum main.go; echo "$ldflags"; } | sha256sum | cut -c1-12)
place=$cache/$folder-$version-$sources

if [ ! -x "$place/$program" ]; then
  mkdir -p "$cache"
  exec 9>"$cache/$folder.lock"
  flock 9
fi
if [ ! -x "$place/$program" ]; then
  echo "building $folder $version, once: about 6 minutes of one CPU" >&2
  fresh=$(mktemp -d "$cache/making-XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
  # go.mod is taken as it stands: what `go mod tidy` wants beside is only for the tests of others.
  CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -mod=readonly" nice go build -trimpath -buildvcs=false \
    -ldflags "-s -w $ldflags" -o "$fresh/$program" . >&2
  mv -T "$fresh" "$place"
fi
chmod go+rx "$cache" "$place" "$place/$program"
echo "$place/$program"
