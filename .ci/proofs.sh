#!/usr/bin/env bash
# Proves the contract on all files of dist/ (tests/proofs/README.md), and shows where the kernel that the crate `extism` carries breaks it.
# `--all` proves also what has loops, which takes twenty minutes. `--kernel FILE` asks about another file instead, and `--changes` shows that
# changed files are refused, which takes as long.
[ -n "${BASH_VERSION-}" ] || { echo ".ci/proofs.sh: this needs bash: run 'bash .ci/proofs.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh

command -v python3 >/dev/null || { echo "proofs: python3 is missing: install Python 3.10 or later" >&2; exit 1; }
venv=target/proofs-venv
wanted=tests/proofs/requirements.txt
if ! cmp -s "$wanted" "$venv/installed"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
  cp "$wanted" "$venv/installed"
fi
export PYTHONDONTWRITEBYTECODE=1
prove() { "$venv/bin/python" tests/proofs/prove.py "$@"; }

if [ "${1-}" = --kernel ]; then
  prove "$2"
  exit
fi

if [ "${1-}" = --changes ]; then
  "$venv/bin/python" tests/proofs/mutate.py dist/extism-runtime.wasm
  exit
fi

# The file whose `reset` has no loop comes first: of the others what differs is proved.
prove dist/extism-runtime.wasm dist/extism-runtime-bulk.wasm dist/extism-runtime-mvp.wasm
if [ "${1-}" = --all ]; then
  prove --loops --only alloc --only free --only output_set --only error_set dist/extism-runtime.wasm
fi

# As tests/artefacts/src/peer.rs finds it.
sha256=d1389b31abecf23eec65b4430d86f99f736aeb05c40948dbbe2f88cb17815803
find_peer() {
  local file
  for file in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/extism-*/src/extism-runtime.wasm; do
    if [ -f "$file" ] && [ "$(sha256sum <"$file" | cut -c1-64)" = "$sha256" ]; then
      echo "$file"
      return
    fi
  done
}
peer=$(find_peer)
if [ -z "$peer" ]; then
  mkdir -p target/peer
  printf '[package]\nname = "peer"\nversion = "0.0.0"\nedition = "2024"\n\n[lib]\npath = "lib.rs"\n\n[dependencies]\nextism = "=1.41.0"\n\n[workspace]\n' \
    >target/peer/Cargo.toml
  : >target/peer/lib.rs
  (cd target/peer && cargo fetch)
  peer=$(find_peer)
fi
[ -n "$peer" ] || { echo "proofs: the crate extism 1.41.0 can't be had" >&2; exit 1; }
echo "The kernel in the crate extism 1.41.0, which breaks the contract here:"
if prove "$peer"; then
  echo "proofs: nothing found wrong with it: the proofs can't be trusted" >&2
  exit 1
fi
