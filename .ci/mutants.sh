#!/usr/bin/env bash
# Breaks the kernel's sources in every way that cargo-mutants knows, and asks the tests of the native core about each.
# Arguments go to cargo-mutants: `--file src/kernel/io.rs` for one file, `--list` to see the mutants.
#
# The tests are those of tests/native, which build without an engine, so a mutant takes seconds. What only the shipped module
# can show (src/wasm.rs) isn't mutated: the native core doesn't contain it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v cargo-mutants >/dev/null || { echo "mutants: run 'cargo install --locked cargo-mutants'" >&2; exit 1; }
export PROPTEST_CASES=${PROPTEST_CASES:-64}
exec cargo mutants --package extism-kernel --test-package extism-kernel-native --jobs "${JOBS:-2}" --output target "$@"
