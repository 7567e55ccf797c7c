#!/usr/bin/env bash
# Runs the native core's tests under Miri, which sees undefined behaviour. Bounded: those that take Miri more than a minute
# are left out here, or run shorter.
[ -n "${BASH_VERSION-}" ] || { echo ".ci/miri.sh: this needs bash: run 'bash .ci/miri.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh

nightly=$(cat .ci/nightly)
rustup toolchain install "$nightly" --profile minimal --component miri --component rust-src
# Not in the folder of other builds, which nightly would make anew. The property tests read the time and a seed.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/miri
export MIRIFLAGS="-Zmiri-strict-provenance -Zmiri-disable-isolation"
native=(cargo "+$nightly" miri test --locked --package extism-kernel-native)
"${native[@]}" --test contract -- free_ignores input_is_read freeing_output setting_output lengths_are_exact values_are_little freeing_the_input freed_blocks
"${native[@]}" --test model_test
