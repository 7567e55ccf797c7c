#!/usr/bin/env bash
# Builds libextism as it is shipped, and says in which folder it is. With the argument `legacy`, libextism_legacy instead, which is
# the one with the API from before 1.0.
[ -n "${BASH_VERSION-}" ] || { echo "runtime/shipped.sh: this needs bash: run 'bash runtime/shipped.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
. ../.ci/own-environment.sh
package=extism-kernel-runtime
[ "${1-}" != legacy ] || package+=-legacy
cargo build --locked --profile shipped --package "$package" >&2
target=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
echo "$target/$(rustc --print host-tuple)/shipped" # .cargo/config.toml says why
