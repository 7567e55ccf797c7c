#!/usr/bin/env bash
# Each fuzz target for a minute, from its corpus and from what was found before.
[ -n "${BASH_VERSION-}" ] || { echo ".ci/fuzz.sh: this needs bash: run 'bash .ci/fuzz.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh

nightly=$(cat .ci/nightly)
rustup toolchain install "$nightly" --profile minimal --component rust-src
cargo fuzz --version 2>/dev/null || cargo install --quiet --locked cargo-fuzz
for target in native wasm; do
  mkdir -p "fuzz/corpus/$target"
  cargo "+$nightly" fuzz run "$target" "fuzz/corpus/$target" "tests/findings/$target" -- -max_total_time=60 -timeout=60
done
