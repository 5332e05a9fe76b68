#!/usr/bin/env bash
# Makes sure that moto, a double of AWS, is in the cache, and prints the Python that has it (and boto3).
set -euo pipefail
version=5.2.5
home=$HOME/.cache
[ "$(id -u)" != 0 ] || home=/var/cache
cache=${XDG_CACHE_HOME:-$home}/rekey
place=$cache/moto-$version

python3 -c 'import ensurepip, venv' 2>/dev/null || {
  echo "Python's venv is missing: apt-get install -y python3-venv" >&2
  exit 1
}
if [ ! -e "$place/complete" ]; then
  mkdir -p "$cache"
  exec 9>"$cache/moto.lock"
  flock 9
  if [ ! -e "$place/complete" ]; then
    rm -rf "$place"
    python3 -m venv "$place" >&2
    "$place/bin/pip" install --quiet --disable-pip-version-check "moto[server]==$version" >&2
    "$place/bin/python" -m compileall -q "$place" >/dev/null || true
    touch "$place/complete"
  fi
fi
echo "$place/bin/python"
