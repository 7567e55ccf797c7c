#!/usr/bin/env bash
# The runtime on other systems than this one: its tests on musl, and its Rust, as far as the compiler checks it, for Windows and for macOS on Arm.
[ -n "${BASH_VERSION-}" ] || { echo ".ci/systems.sh: this needs bash: run 'bash .ci/systems.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh

step() {
  echo
  echo "=== systems: $* ($((SECONDS / 60)) min)"
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! command -v musl-gcc >/dev/null; then
  step "installing musl-tools"
  apt-get update -qq
  apt-get install -y -qq musl-tools
fi

step "the tests on musl"
rustup target add x86_64-unknown-linux-musl
cargo test --locked --target x86_64-unknown-linux-musl --test runtime --test c_api --test logging

# Some dependencies have pieces in C. No system's headers are here but this one's, and nothing is linked, so the place of a C compiler is taken by one that
# makes empty files: what is checked is all that is written in Rust.
cat >"$work/cc" <<'CC'
#!/bin/sh
while [ "$#" != 0 ]; do
  case $1 in
    -o) : >"$2" ;;
    -Fo*) : >"${1#-Fo}" ;;
    -o*) : >"${1#-o}" ;;
  esac
  shift
done
CC
chmod +x "$work/cc"
for target in x86_64-pc-windows-gnu aarch64-apple-darwin; do
  step "cargo check for $target"
  rustup target add "$target"
  name=${target//-/_}
  env "CC_$name=$work/cc" "CXX_$name=$work/cc" "AR_$name=ar" \
    cargo check --quiet --locked --target "$target" --package extism-kernel-runtime --package extism-kernel-runtime-legacy --package extism-kernel-linker
done
echo "systems: all of it compiles, and the tests pass on musl, in $((SECONDS / 60)) min"
