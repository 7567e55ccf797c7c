#!/usr/bin/env bash
# The linker: its tests, its documentation, the command as README says it, and how fast it links a large plugin.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The most milliseconds that a plugin of 2 MB may take.
limit=50

rustup target add wasm32-wasip1
cargo test --locked --package extism-kernel-linker
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --package extism-kernel-linker --document-private-items
for manifest in linker/tests/plugins/*/Cargo.toml linker/engines/rust/Cargo.toml; do
  cargo fmt --all --manifest-path "$manifest" --check
done

out=target/linker
mkdir -p "$out"
link() { cargo run --quiet --release --locked --package extism-kernel-linker -- "$@"; }
plugin=target/plugins/wasm32-unknown-unknown/release/count_vowels.wasm
[ -f "$plugin" ] || { echo "linker: $plugin is missing, cargo test builds it" >&2; exit 1; }
link "$plugin" -o "$out/count_vowels.wasm"
link "$plugin" -o "$out/count_vowels.one.wasm" --one-memory --mvp
if link "$out/count_vowels.wasm" -o "$out/again.wasm" 2>"$out/again.log"; then
  echo "linker: a linked module was linked again" >&2
  exit 1
fi
grep -q "linked already" "$out/again.log"

# Without optimisation and with names, the plugin with JSON and WASI is large. Its DWARF isn't what is to be measured.
(cd linker/tests/plugins/ledger && cargo rustc --quiet --locked --target wasm32-wasip1 --target-dir ../../../../target/plugins \
  --config 'profile.dev.debug=0' --config 'profile.dev.opt-level=0' --crate-type cdylib)
large=target/plugins/wasm32-wasip1/debug/ledger.wasm
bytes=$(stat -c %s "$large")
best=
for _ in 1 2 3 4 5; do
  told=$(link "$large" -o "$out/large.wasm")
  time=$(sed -n 's/.*linked in \([0-9.]*\) ms.*/\1/p' <<<"$told")
  best=$(printf '%s\n' $best "$time" | sort -n | head -n 1)
done
awk -v bytes="$bytes" -v best="$best" -v limit="$limit" 'BEGIN {
  scaled = best * 2e6 / bytes
  printf "linker: %d bytes in %.1f ms, so 2 MB in %.1f ms (at most %d)\n", bytes, best, scaled, limit
  exit !(bytes > 1e6 && scaled <= limit)
}'
