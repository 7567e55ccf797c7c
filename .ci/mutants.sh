#!/usr/bin/env bash
# Breaks the kernel's sources in every way that cargo-mutants knows, and asks the tests of the native core about each.
# Arguments are the files to break (`src/kernel/io.rs`), if not all.
#
# The tests are those of tests/native, which build without an engine, so a mutant takes seconds. Not src/wasm.rs: the native core
# doesn't contain it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v cargo-mutants >/dev/null || { echo "mutants: run 'cargo install --locked cargo-mutants'" >&2; exit 1; }
[ "$#" != 0 ] || set -- 'src/kernel/*.rs' src/native.rs
files=()
for file; do files+=(--file "$file"); done

export PROPTEST_CASES=${PROPTEST_CASES:-64}
# cargo-mutants' own baseline would build the kernel's tests, with an engine. If the tests failed anyway, every mutant would be caught.
cargo test --quiet --locked --package extism-kernel-native
exec cargo mutants --package extism-kernel --test-package extism-kernel-native --baseline skip --timeout 90 \
  --jobs "${JOBS:-2}" --output target "${files[@]}"
