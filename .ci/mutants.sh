#!/usr/bin/env bash
# Breaks the kernel's sources in every way that cargo-mutants knows, and asks the tests of the native core about each.
# Arguments are the files to break (`src/kernel/io.rs`), if not all.
#
# The tests are those of tests/native, which build without an engine, so a mutant takes seconds. Not src/wasm.rs: the native core
# doesn't contain it. Most mutants fall to the tests of `contract`, which take less than a second; only those that don't
# are shown to all.
[ -n "${BASH_VERSION-}" ] || { echo ".ci/mutants.sh: this needs bash: run 'bash .ci/mutants.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh

command -v cargo-mutants >/dev/null || { echo "mutants: run 'cargo install --locked cargo-mutants'" >&2; exit 1; }
[ "$#" != 0 ] || set -- 'src/kernel/*.rs' src/native.rs
files=()
for file; do files+=(--file "$file"); done

export PROPTEST_CASES=${PROPTEST_CASES:-16}
# cargo-mutants' own baseline would build the kernel's tests, with an engine. If the tests failed anyway, every mutant would be caught.
cargo test --quiet --locked --package extism-kernel-native
mutants() {
  cargo mutants --package extism-kernel --test-package extism-kernel-native --baseline skip --jobs "${JOBS:-2}" \
    --output target "${files[@]}" "$@"
}
rm -rf target/mutants.out target/mutants.out.old
# 2: some were missed; 3: some didn't end.
mutants --timeout 20 --cargo-arg=--test=contract || case $? in 2 | 3) ;; *) exit 1 ;; esac
# What the first pass caught the second leaves out; so it shall with what didn't end, which can't go unnoticed either.
cat target/mutants.out/timeout.txt >>target/mutants.out/caught.txt
# Now the first pass's lists are in target/mutants.out.old.
mutants --timeout 60 --iterate
