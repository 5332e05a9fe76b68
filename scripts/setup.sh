#!/usr/bin/env bash
# Makes sure that what the other commands need is there: a C compiler always, and the parts named as arguments.
# Installs Debian packages as root or through sudo; otherwise prints the one line to run, and fails.
set -euo pipefail

missing=()
here=$(cd "$(dirname "$0")/.." && pwd)
command -v cc >/dev/null || missing+=(build-essential)
for part in "$@"; do
  case "$part" in
    postgresql)
      if [ -z "${REKEY_PG_BIN:-}" ] && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null; then
        missing+=(postgresql)
      fi ;;
    redis) command -v redis-server >/dev/null || [ -x /usr/bin/redis-server ] || missing+=(redis-server) ;;
    mariadb) command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server) ;;
    pgbouncer) command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer) ;;
    prometheus) { command -v promtool && command -v prometheus; } >/dev/null || missing+=(prometheus) ;;
    rabbitmq) ls /usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server >/dev/null 2>&1 || missing+=(rabbitmq-server) ;;
    moto) python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv) ;;
    *) echo "setup.sh: no such part: $part" >&2; exit 2 ;;
  esac
done
command -v cargo >/dev/null || { echo "Rust is missing: install it with rustup, then run this again." >&2; exit 1; }
# What no Debian package has goes into the cache, outside of the tree.
cached() { for part in "$@"; do case "$part" in moto) "$here/tests/parts/moto.sh" >/dev/null ;; esac; done; }
[ ${#missing[@]} -eq 0 ] && { cached "$@"; exit 0; }

as_root=()
if [ "$(id -u)" != 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root=(sudo -n); else
    echo "Missing: ${missing[*]}. Run this line, then this command again:" >&2
    echo "  sudo apt-get update && sudo apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
fi
command -v apt-get >/dev/null || { echo "Missing: ${missing[*]} (by their Debian names). Install them, then run this again." >&2; exit 1; }
echo "installing: ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# Of Prometheus nothing beside it is wanted.
lean=()
case " ${missing[*]} " in *" prometheus "*) lean=(--no-install-recommends) ;; esac
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${lean[@]}" "${missing[@]}" >/dev/null
# Each test starts its own server, beside any other: these need not run because of us.
for service in prometheus rabbitmq-server; do
  case " ${missing[*]} " in *" $service "*) "${as_root[@]}" systemctl disable --now "$service" >/dev/null 2>&1 || true ;; esac
done
cached "$@"
