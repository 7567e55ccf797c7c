#!/usr/bin/env bash
# Each fuzz target, of the kernel and of the runtime, from its corpus and from what was found before: for a minute, or for as many
# seconds as the argument says.
[ -n "${BASH_VERSION-}" ] || { echo ".ci/fuzz.sh: this needs bash: run 'bash .ci/fuzz.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh
seconds=${1-60}
[[ $seconds =~ ^[0-9]+$ ]] || seconds=60 # .ci/run passes its own argument on

nightly=$(cat .ci/nightly)
rustup toolchain install "$nightly" --profile minimal --component rust-src
cargo fuzz --version 2>/dev/null || cargo install --quiet --locked cargo-fuzz
fuzz() { # FOLDER TARGET [SEEDS [FLAG...]]
  local folder=$1 target=$2
  mkdir -p "$folder/corpus/$target"
  cargo "+$nightly" fuzz run --fuzz-dir "$folder" "$target" "$folder/corpus/$target" ${3:+"$3"} -- \
    "-max_total_time=$seconds" -timeout=60 "${@:4}"
}
fuzz fuzz native tests/findings/native
fuzz fuzz wasm tests/findings/wasm
words=-dict=runtime/fuzz/words.dict
fuzz runtime/fuzz wasm tests/plugins "$words" -max_len=8192
fuzz runtime/fuzz wat tests/plugins "$words" -max_len=8192
fuzz runtime/fuzz manifest runtime/fuzz/seeds/manifest "$words" -max_len=4096
fuzz runtime/fuzz calls "" -max_len=4096 -len_control=0
