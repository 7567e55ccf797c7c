#!/usr/bin/env bash
# Builds the kernel: gets what it lacks, compiles, merges, optimises, verifies, writes dist/, says what it made.
#
#   ./build.sh           builds dist/
#   ./build.sh --check   rebuilds, and fails if dist/ differs
#   ./build.sh --bless   builds dist/, and takes the new ABI and size as the expected ones
[ -n "${BASH_VERSION-}" ] || { echo "build.sh: this needs bash: run 'bash build.sh'" >&2; exit 1; }
set -euo pipefail

rust_version=1.95.0 # as in rust-toolchain.toml
binaryen_version=132

fail() {
  echo "build.sh: $1" >&2
  exit 1
}

mode=${1:-}
case $mode in
  '' | --check | --bless) ;;
  *) fail "usage: ./build.sh [--check | --bless]" ;;
esac

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
. ./.ci/own-environment.sh
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
work=$PWD/target/kernel
new=$work/dist
linked=$work/linker
rm -rf "$work"
mkdir -p "$new" "$linked"

# --- tools -----------------------------------------------------------------------------------------------------------

command -v rustc >/dev/null && command -v cargo >/dev/null ||
  fail "rustc and cargo are missing: install Rust with rustup (https://rustup.rs)"
found=$(rustc --version 2>/dev/null | cut -d' ' -f2) || true
[ "$found" = "$rust_version" ] ||
  fail "rustc $rust_version is needed, found '${found:-none}': run 'rustup toolchain install $rust_version'"
for target in wasm32-unknown-unknown wasm32v1-none; do
  [ -d "$(rustc --print target-libdir --target "$target")" ] && continue
  command -v rustup >/dev/null && rustup target add "$target" >"$work/rustup.log" 2>&1 ||
    fail "the Rust target $target is missing: run 'rustup target add $target'"
done

# Another version of Binaryen gives other bytes, so one that is installed is used only if it is the pinned one.
has_binaryen() {
  local tool
  for tool in wasm-opt wasm-merge; do
    [ "$("$1$tool" --version 2>/dev/null | cut -d' ' -f3)" = "$binaryen_version" ] || return 1
  done
}
binaryen=
if ! has_binaryen ''; then
  binaryen=$PWD/target/binaryen/node_modules/.bin/
  if ! has_binaryen "$binaryen"; then
    command -v npm >/dev/null ||
      fail "wasm-opt and wasm-merge of Binaryen $binaryen_version are missing: put them in PATH, or install npm (Node.js), from which build.sh gets them"
    npm install --no-save --prefix target/binaryen "binaryen@$binaryen_version.0.0" >"$work/npm.log" 2>&1 &&
      has_binaryen "$binaryen" ||
      fail "Binaryen $binaryen_version can't be had from npm ($(tail -n 5 "$work/npm.log")): put its wasm-opt and wasm-merge in PATH"
  fi
fi

# --- build -----------------------------------------------------------------------------------------------------------

# rustc rather than cargo: the crate has no dependencies, and the bytes then depend neither on the folder nor on anybody's
# cargo configuration. All features that kernel-global.wat needs must be named, since the crate's object names none.
features=(--enable-mutable-globals --enable-reference-types --enable-bulk-memory)
build() { # TARGET FILE [WASM-OPT OPTION...]
  local target=$1 file=$2
  shift 2
  local flags=() base=()
  if [ -n "$one_memory" ]; then
    flags=(--cfg extism_one_memory) base=(kernel-base.wat base)
  fi
  rustc --crate-name extism_kernel --edition 2024 --crate-type cdylib --target "$target" --cfg extism_kernel_build \
    -Copt-level=z -Clto=fat -Ccodegen-units=1 -Cpanic=abort -Cstrip=symbols \
    -Clink-arg=--no-entry -Clink-arg=-zstack-size=0 -Clink-arg=--initial-memory=65536 "${flags[@]}" \
    -o "$work/$target.wasm" src/lib.rs
  "${binaryen}wasm-merge" "${features[@]}" "$work/$target.wasm" kernel kernel-global.wat registers "${base[@]}" \
    -o "$work/$target.merged.wasm"
  # The accessors' names go first, or the dead globals would stay.
  "${binaryen}wasm-opt" "${features[@]}" "$work/$target.merged.wasm" --remove-exports='__*' "$@" \
    --flatten --rereloop --always-inline-max-function-size=4 -Oz -Oz -Oz --strip-debug --strip-producers --strip-target-features \
    -o "$file"
}
one_memory=
build wasm32-unknown-unknown "$new/extism-runtime.wasm"
build wasm32-unknown-unknown "$new/extism-runtime-bulk.wasm" --remove-exports=extism_context
build wasm32v1-none "$new/extism-runtime-mvp.wasm" --remove-exports=extism_context
# Those of the linker, whose addresses count from a base.
one_memory=yes
build wasm32-unknown-unknown "$linked/one-memory.wasm" --remove-exports=extism_context
build wasm32v1-none "$linked/one-memory-mvp.wasm" --remove-exports=extism_context

# --- verify, and only then write ---------------------------------------------------------------------------------------

made=$(cargo run --quiet --locked --package artefacts -- "$new" tests/artefacts/expected.txt "$version" \
  ${mode:+$([ "$mode" = --bless ] && echo --bless)}) || fail "verification failed, dist/ is as it was"

if [ "$mode" = --check ]; then
  diff -r --exclude='conformance*' "$new" dist >"$work/diff.log" || fail "dist/ differs from what the source gives: $(head -n 3 "$work/diff.log" | tr '\n' ' ')"
  diff -r "$linked" linker/kernel >"$work/diff.log" || fail "linker/kernel/ differs from what the source gives: $(head -n 3 "$work/diff.log" | tr '\n' ' ')"
  echo "dist/ is what the source gives:"
else
  mkdir -p dist linker/kernel
  cp "$new"/* dist/
  cp "$linked"/* linker/kernel/
  echo "dist/ now has:"
fi
echo "$made"
