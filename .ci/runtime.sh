#!/usr/bin/env bash
# What the runtime's checks need beyond Rust: C and C++ programs, packages, valgrind, the Python SDK, plugins in C. Installs what is
# missing. With --all, the API from before 1.0 is compared with its released library, too.
# `cargo test` has run before; this tests the library as it is shipped.
[ -n "${BASH_VERSION-}" ] || { echo ".ci/runtime.sh: this needs bash: run 'bash .ci/runtime.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh

step() {
  echo
  echo "=== runtime: $* ($((SECONDS / 60)) min)"
}

packages=()
has() { command -v "$1" >/dev/null; }
has gcc || packages+=(gcc libc6-dev)
has g++ || packages+=(g++)
has pkg-config || packages+=(pkg-config)
has cmake || packages+=(cmake make)
has valgrind || packages+=(valgrind)
has clang || packages+=(clang)
has wasm-ld || packages+=(lld)
[ -e /usr/include/wasm32-wasi/stdio.h ] || packages+=(wasi-libc)
compiles() { echo 'int main(void){return 0;}' | clang --target=wasm32-wasi -xc - -o /dev/null 2>/dev/null; }
compiles || packages+=(libclang-rt-14-dev-wasm32)
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
if [ "${#packages[@]}" != 0 ]; then
  step "installing ${packages[*]}"
  apt-get update -qq
  apt-get install -y -qq "${packages[@]}"
fi
rustup target add wasm32-wasip1

step "the tests with plugin and kernel as two instances"
EXTISM_JOIN=0 cargo test --locked --test runtime --test c_api --test logging --test api

step "the library as it is shipped"
libraries=$(runtime/shipped.sh)
ls -l "$libraries"/libextism.*

step "C, C++ and valgrind"
runtime/tests/c/run "$libraries"

step "what is installed, with pkg-config and CMake"
runtime/tests/packages/run "$libraries"

step "the library with the API from before 1.0: C, C++, valgrind, Python${1:+, and the released library of that time}"
legacy=$(runtime/shipped.sh legacy)
released=()
if [ "${1-}" = --all ]; then
  # Minutes, for what is never released again.
  cargo build --locked --manifest-path runtime/legacy/tests/peer/Cargo.toml --target-dir target/legacy-peer
  released=("target/legacy-peer/$(rustc --print host-tuple)/debug/libextism_peer.so")
fi
runtime/legacy/tests/c/run "$legacy" "${released[@]}"
runtime/legacy/tests/python/run "$legacy"

step "plugins in Rust and C"
runtime/tests/plugins/build "$libraries/plugins"

step "the Python SDK, on the wheel of this library and the released one"
PLUGINS=$libraries/plugins runtime/tests/python/run "$libraries/libextism.so"

step "what things cost, on this library and the released one"
runtime/benches/run "$libraries/libextism.so" "$libraries/python-tests/released/extism_sys/libextism_sys.so"
echo "the runtime's checks passed in $((SECONDS / 60)) min"
