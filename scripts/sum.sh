#!/usr/bin/env bash
# Runs a cargo test command, shows its output, and closes with `N passed, N failed` over all of its test binaries.
# Fails when the command fails, when a test was ignored, and when no test ran.
set -uo pipefail
log=$(mktemp); trap 'rm -f "$log"' EXIT
"$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
awk -v code="$code" '
  /^test result:/ { for (i = 1; i < NF; i++) { n = $i
      if ($(i+1) ~ /^passed/) passed += n; if ($(i+1) ~ /^failed/) failed += n; if ($(i+1) ~ /^ignored/) ignored += n } }
  END {
    if (ignored > 0) { print "ignored tests are not allowed: " ignored; code = code ? code : 1 }
    if (passed == 0) { print "no test ran"; code = code ? code : 1 }
    printf "%d passed, %d failed\n", passed, failed
    exit code
  }' "$log"
