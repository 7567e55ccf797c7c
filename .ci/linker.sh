#!/usr/bin/env bash
# The linker as README says it is used, how fast it links a large plugin, and what a linked module gains. `cargo test` has run before.
#
#   .ci/linker.sh          on V8 and wazero, which are there soonest
#   .ci/linker.sh --all    on all engines
[ -n "${BASH_VERSION-}" ] || { echo ".ci/linker.sh: this needs bash: run 'bash .ci/linker.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh
root=$PWD

# The most milliseconds of CPU time that a plugin of 2 MB may take, with reading and writing the file. The goal is 50, which a plugin of
# that size meets; a smaller one is scaled up here, and with it what doesn't grow, and others may use the machine.
limit=80

fail() {
  echo "linker: $1" >&2
  exit 1
}

out=target/linker
mkdir -p "$out"
link() { cargo run --quiet --release --locked --package extism-kernel-linker -- "$@"; }
plugin=target/plugins/wasm32-unknown-unknown/release/count_vowels.wasm
[ -f "$plugin" ] || fail "$plugin is missing: cargo test builds it"
link "$plugin" -o "$out/count_vowels.wasm"
link "$plugin" -o "$out/count_vowels.one.wasm" --one-memory --mvp
if link "$out/count_vowels.wasm" -o "$out/again.wasm" 2>"$out/again.log"; then fail "a linked module was linked again"; fi
grep -q "linked already" "$out/again.log" || fail "a linked module was refused for another reason: $(cat "$out/again.log")"

# Without optimisation and with names, the plugin with JSON and WASI is large. Its DWARF isn't what is to be measured.
rustup target add wasm32-wasip1
(cd linker/tests/plugins/ledger && cargo rustc --quiet --locked --target wasm32-wasip1 --target-dir "$root/target/plugins" \
  --config 'profile.dev.debug=0' --config 'profile.dev.opt-level=0' --crate-type cdylib)
large=target/plugins/wasm32-wasip1/debug/ledger.wasm
bytes=$(stat -c %s "$large")
[ "$bytes" -gt 400000 ] || fail "$large isn't large: $bytes bytes"
# By itself, not through cargo: all that the process takes is counted. The best of five, as others use the machine, too.
linker=$(cargo build --release --locked --package extism-kernel-linker --message-format json 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*extism-kernel-linker\)".*/\1/p' | tail -n 1)
TIMEFORMAT='%U %S'
for form in "" --one-memory; do
  best=
  for _ in 1 2 3 4 5; do
    # shellcheck disable=SC2086
    time=$({ time "$linker" "$large" -o "$out/large.wasm" $form >/dev/null 2>"$out/large.log"; } 2>&1 | awk '{ print ($1 + $2) * 1000 }')
    best=$(printf '%s\n' $best "$time" | sort -n | head -n 1)
  done
  awk -v form="${form:-two memories}" -v bytes="$bytes" -v best="$best" -v limit="$limit" 'BEGIN {
    scaled = best * 2e6 / bytes
    printf "linker, %s: %d bytes in %.0f ms of CPU time, so 2 MB in %.0f ms (at most %d)\n", form, bytes, best, scaled, limit
    exit !(scaled <= limit)
  }'
done

if [ "${1-}" = --all ]; then linker/engines/run; else linker/engines/run v8 wazero; fi
