#!/usr/bin/env bash
# Puts a table into a README, between the lines `<!-- measured -->` and `<!-- end -->`: .ci/put-table.sh README.md TABLE
[ -n "${BASH_VERSION-}" ] || { echo ".ci/put-table.sh: this needs bash: run 'bash .ci/put-table.sh'" >&2; exit 1; }
set -euo pipefail
readme=$(realpath "$1") table=$(realpath "$2")
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh
new=$(mktemp)
trap 'rm -f "$new"' EXIT
awk -v table="$table" '
  /^<!-- measured -->$/ { print; print ""; while ((getline line < table) > 0) print line; print ""; skips = 1 }
  /^<!-- end -->$/ { skips = 0 }
  !skips' "$readme" >"$new"
cat "$new" >"$readme"
