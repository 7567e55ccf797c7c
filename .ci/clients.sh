#!/usr/bin/env bash
# The runtime's library, as it is shipped, in programs of other languages: each with what its registry has, unmodified. Installs
# what is missing.
[ -n "${BASH_VERSION-}" ] || { echo ".ci/clients.sh: this needs bash: run 'bash .ci/clients.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh

step() {
  echo
  echo "=== clients: $* ($((SECONDS / 60)) min)"
}

packages=()
has() { command -v "$1" >/dev/null; }
has g++ || packages+=(g++)
has clang++ || packages+=(clang)
has javac || packages+=(default-jdk-headless)
has mvn || packages+=(maven)
has gcc || packages+=(gcc libc6-dev)
has go || packages+=(golang-go)
has node || packages+=(nodejs)
has npm || packages+=(npm)
if [ "${#packages[@]}" != 0 ]; then
  step "installing ${packages[*]}"
  apt-get update -qq
  apt-get install -y -qq "${packages[@]}"
fi

step "the library as it is shipped"
libraries=$(runtime/shipped.sh)

step "C++"
runtime/tests/cpp/run "$libraries"

step "Java, by the SDK from Maven Central"
runtime/tests/java/run "$libraries"

step "Go, by cgo"
runtime/tests/go/run "$libraries"

step "Node.js, by koffi from npm"
runtime/tests/node/run "$libraries"
echo "the clients' checks passed in $((SECONDS / 60)) min"
