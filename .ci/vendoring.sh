#!/usr/bin/env bash
# What people do with the files on machines that aren't like this one: checkouts with CRLF, foreign cargo configuration, links,
# C hosts, other tools. Everything happens on a clone of the commit, in a folder for temporary files.
#
#   .ci/vendoring.sh          a few minutes
#   .ci/vendoring.sh --all    also README's commands as they stand, all of cargo test on the clone, and WAMR
[ -n "${BASH_VERSION-}" ] || { echo ".ci/vendoring.sh: this needs bash: run 'bash .ci/vendoring.sh'" >&2; exit 1; }
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
. ./.ci/own-environment.sh
all=${1-}
root=$PWD
# Outside of this folder, whose configuration would be the clone's too, and twice the same flags are others: all would be built again.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
clone=$work/parent/clone

step() {
  echo
  echo "=== vendoring: $* ($((SECONDS / 60)) min)"
}
fail() {
  echo "vendoring: $1" >&2
  exit 1
}
# Runs what must fail, and must say this.
refused() { # TEXT COMMAND...
  local text=$1 said
  shift
  if said=$("$@" 2>&1); then fail "succeeded: $*"; fi
  case $said in *"$text"*) ;; *) fail "said '$said' instead of '$text': $*" ;; esac
}

packages=()
command -v gcc >/dev/null || packages+=(gcc libc6-dev)
command -v dash >/dev/null || packages+=(dash)
command -v wasm2c >/dev/null && command -v wasm-strip >/dev/null || packages+=(wabt)
if [ "${#packages[@]}" != 0 ]; then
  step "installing ${packages[*]}"
  apt-get update -qq
  apt-get install -y -qq "${packages[@]}"
fi

mkdir -p "$work/parent/.cargo"

# --- checkouts -----------------------------------------------------------------------------------------------------------

step "a checkout as Git for Windows makes it"
[ -z "$(git status --porcelain --untracked-files=no)" ] || echo "vendoring: what isn't committed is not looked at" >&2
git -c core.autocrlf=true -c core.eol=crlf clone --quiet --no-local "$root" "$clone"
git -C "$clone" config core.autocrlf true
(cd "$clone/dist" && sha256sum --check --quiet SHA256SUMS) || fail "the checksums don't hold in a checkout with core.autocrlf"
crlf=$(git -C "$clone" ls-files --eol | grep -E 'w/(crlf|mixed)' || true)
[ -z "$crlf" ] || fail "has CRLF: $crlf"
# Without .gitattributes it would have: or this shows nothing.
bare=$work/without-attributes
mkdir "$bare"
git -C "$bare" init --quiet
printf 'a\n' >"$bare/text"
git -C "$bare" add text 2>/dev/null
rm "$bare/text"
git -C "$bare" -c core.autocrlf=true checkout --quiet text
grep -q $'\r' "$bare/text" || fail "this git makes no CRLF, so the checkout showed nothing"

# --- other people's settings -----------------------------------------------------------------------------------------------

step "build.sh by a link, below a plugin project, with a foreign environment"
cat >"$work/parent/.cargo/config.toml" <<'CONFIG'
[build]
target = "wasm32-unknown-unknown"
rustflags = ["-Clink-arg=--there-is-no-such-flag"]
rustc-wrapper = "/bin/false"
target-dir = "elsewhere"

[target.wasm32-unknown-unknown]
rustflags = ["-Clink-arg=--nor-such"]
CONFIG
mkdir -p "$clone/target" "$work/elsewhere" "$work/bait/.ci" "$work/bait/tests"
[ ! -d target/binaryen ] || ln -s "$root/target/binaryen" "$clone/target/binaryen"
ln -s "$clone/build.sh" "$work/elsewhere/link-to-build.sh"
foreign=(env "CDPATH=$work/bait:$work" CARGO_BUILD_TARGET=wasm32-unknown-unknown RUSTFLAGS=--no-such-flag
  CARGO_ENCODED_RUSTFLAGS=--no-such-flag RUSTDOCFLAGS=--no-such-flag RUSTC_WRAPPER=/bin/false RUSTC_WORKSPACE_WRAPPER=/bin/false
  CARGO_BUILD_RUSTC_WRAPPER=/bin/false CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=--no-such-flag
  CARGO_PROFILE_DEV_OPT_LEVEL=nonsense)
(cd "$work/elsewhere" && "${foreign[@]}" ./link-to-build.sh --check)
(cd "$work/parent" && "${foreign[@]}" bash clone/build.sh --check >/dev/null)
[ ! -e "$work/parent/elsewhere" ] && [ ! -e "$clone/elsewhere" ] || fail "build.sh put something into another project's folder"

step "all scripts, by a link and with sh"
for script in $(git -C "$clone" ls-files -s | sed -n 's/^100755 [0-9a-f]* 0\t//p'); do
  case $(head -n 1 "$clone/$script") in
    *bash)
      bash -n "$clone/$script"
      # One that isn't found by its own path would miss the file that it sources.
      grep -q 'own-environment.sh$' "$clone/$script" || case $script in tests/engines/*/run) ;; *) fail "$script takes the environment as it is" ;; esac
      case $script in tests/engines/*/run) ;; *) refused "this needs bash" dash "$clone/$script" ;; esac
      ;;
    *sh) dash -n "$clone/$script" ;;
  esac
  if grep -nE 'cd "?\$\(dirname "?(\$0|\$\{BASH_SOURCE)' "$clone/$script"; then fail "$script goes where CDPATH and links lead"; fi
done

step "cargo test below a plugin project"
# In the folder of other builds, so that what comes from the registry needn't be built again.
tests=(--test artefacts --test host --test readme)
[ "$all" != --all ] || tests=()
(cd "$clone" && CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target} cargo test --quiet --locked "${tests[@]}")
ls "$clone"/target/plugins/wasm32-unknown-unknown/release/count_vowels.wasm
[ ! -e "$work/parent/elsewhere" ] || fail "something was put into the other project's folder"
# They have the clone's folder compiled in, which cargo doesn't notice: the next `cargo test` here builds its own again.
touch tests/*.rs tests/artefacts/src/*.rs

# --- C hosts -----------------------------------------------------------------------------------------------------------

step "the headers, under the names of xxd"
for name in extism-runtime extism-runtime-bulk extism-runtime-mvp; do
  for form in -DREAD_ONLY -DEXTISM_RUNTIME_WRITABLE; do
    for standard in c99 c17; do
      gcc "-std=$standard" -pedantic -Wall -Wextra -Werror -Idist "$form" "-DHEADER=\"$name.h\"" tests/vendoring/header.c -o "$work/header"
      "$work/header" | cmp - "dist/$name.wasm"
    done
  done
  # Where it isn't said that it is writable, it is not.
  gcc -std=c99 -Idist "-DHEADER=\"$name.h\"" -x c - -o "$work/header" <<'C' && status=0 || status=$?
#include HEADER
int main(void) { *(volatile unsigned char *)extism_runtime_wasm = 0; return 0; }
C
  [ "$status" = 0 ] || fail "$name.h does not compile"
  if ("$work/header"; exit $?) 2>/dev/null; then fail "$name.h: the array is said to be const, and can be written"; fi
done

if [ "$all" = --all ]; then
  step "the header on WAMR"
  # Gets WAMR, and fails, as these are no cases. Its classic interpreter is the one that writes.
  tests/engines/wamr/run /dev/null /dev/null /dev/null >/dev/null 2>&1 || true
  sources=target/engines/wamr/crate/vendor/wamr-sys
  cmake -S "$sources/libiwasm" -B "$work/wamr-build" -Wno-dev -DCMAKE_C_FLAGS=-w -DWAMR_BUILD_AOT=0 -DWAMR_BUILD_LIBC_WASI=0 \
    -DWAMR_BUILD_BULK_MEMORY=1 -DWAMR_BUILD_FAST_INTERP=0 >"$work/wamr.log" 2>&1
  make -j2 -C "$work/wamr-build" vmlib >>"$work/wamr.log" 2>&1 || { tail -n 20 "$work/wamr.log" >&2; exit 1; }
  build=(gcc -std=gnu11 -Wall -Wextra -Werror "-I$sources/wasm-micro-runtime/core/iwasm/include" -Idist tests/vendoring/wamr.c
    "$work/wamr-build/libvmlib.a" -Wl,-z,noexecstack -lm -lpthread -o "$work/wamr")
  "${build[@]}" -DEXTISM_RUNTIME_WRITABLE
  "$work/wamr" 1
  "${build[@]}" -DAFTER
  "$work/wamr" 1
  # Not twice, or the header says what isn't so; but each its copy.
  if "$work/wamr" 2 2>/dev/null; then fail "WAMR loads the same bytes twice"; fi
  "${build[@]}" -DCOPY
  "$work/wamr" 2
  "${build[@]}"
  if ("$work/wamr" 1; exit $?) 2>/dev/null; then fail "WAMR takes the const array"; fi
fi

# --- other tools -----------------------------------------------------------------------------------------------------------

step "merged, optimised, stripped, compiled to C: the trace's hash"
bin=$clone/target/binaryen/node_modules/.bin/
[ -d "$bin" ] || bin= # in PATH, where build.sh found it
features=(--enable-mutable-globals --enable-reference-types --enable-bulk-memory)
several=("${features[@]}" --enable-multimemory --enable-nontrapping-float-to-int --enable-sign-ext --enable-multivalue)
memories=$(.ci/node24.sh)
hash=$(node tests/vendoring/hash.mjs dist/extism-runtime.wasm)
same() { # WHAT COMMAND...
  local what=$1 found
  shift
  found=$("$@") || fail "$what: fails"
  [ "$found" = "$hash" ] || fail "$what: the trace's hash is $found instead of $hash"
  echo "$found  $what"
}
plugin=$clone/target/plugins/wasm32-unknown-unknown/release/count_vowels.wasm
wat2wasm tests/plugins/echo.wat -o "$work/echo.wasm"
lists=("-O1" "-O4 --converge" "-Os --flatten --local-cse --rereloop" "--ssa --flatten --simplify-locals-notee --coalesce-locals -O3"
  "--inlining-optimizing --dae-optimizing --merge-similar-functions --reorder-functions" "--avoid-reinterprets --untee --remove-unused-brs --vacuum --dce")
for name in extism-runtime extism-runtime-bulk extism-runtime-mvp; do
  file=$PWD/dist/$name.wasm
  same "$name" node tests/vendoring/hash.mjs "$file"
  for passes in "${lists[@]}"; do
    # shellcheck disable=SC2086
    "${bin}wasm-opt" "${features[@]}" "$file" $passes -o "$work/optimised.wasm"
    same "$name, wasm-opt $passes" node tests/vendoring/hash.mjs "$work/optimised.wasm"
  done
  cp "$file" "$work/stripped.wasm"
  wasm-strip "$work/stripped.wasm"
  same "$name, wasm-strip" node tests/vendoring/hash.mjs "$work/stripped.wasm"
  "${bin}wasm-merge" "${features[@]}" "$file" extism:host/env "$work/echo.wasm" plugin -o "$work/merged.wasm"
  same "$name, wasm-merge with echo" node tests/vendoring/hash.mjs "$work/merged.wasm" echo 'Hello, World!' 'Hello, World!'
  "${bin}wasm-merge" "${several[@]}" "$file" extism:host/env "$plugin" plugin --rename-export-conflicts -o "$work/merged.wasm"
  same "$name, wasm-merge with count_vowels" "$memories" tests/vendoring/hash.mjs "$work/merged.wasm" count_vowels 'Hello, World!' \
    '{"count":3,"total":3,"vowels":"aeiouAEIOU"}'
  wasm2c "$file" -n kernel -o "$work/kernel.c"
  gcc -std=gnu11 -O1 -w "-I$work" tests/vendoring/wasm2c.c "$work/kernel.c" -o "$work/wasm2c" -lwasm-rt-impl -lm
  same "$name, wasm2c" "$work/wasm2c"
done

step "README's host of five lines"
{
  echo 'import { readFileSync } from "node:fs";'
  echo 'const [file, wasm] = process.argv.slice(2).map((name) => readFileSync(name)), input = new TextEncoder().encode("Hello, World!");'
  sed -n '/^```js$/,/^```$/{/^```/d;p}' README.md
  echo 'if (new TextDecoder().decode(output) !== "Hello, World!") throw new Error(`the output is ${output}`);'
} >"$work/five-lines.mjs"
for file in dist/*.wasm; do node "$work/five-lines.mjs" "$file" "$work/echo.wasm"; done

# --- a newcomer's way --------------------------------------------------------------------------------------------------------

if [ "$all" = --all ]; then
  step "README's commands on a fresh clone, as they stand"
  rm -rf "$work/fresh"
  git clone --quiet --no-local "$root" "$work/fresh"
  sed -n '/^```sh$/,/^```$/{/^```/d;p}' README.md >"$work/commands"
  cat "$work/commands"
  (cd "$work/fresh" && CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target} bash -euo pipefail "$work/commands") | tee "$work/said"
  grep -qF '{"count":3,"total":3,"vowels":"aeiouAEIOU"}' "$work/said" || fail "the plugin's output is missing"
  git -C "$work/fresh" diff --exit-code
fi
echo "vendoring: all of it works, in $((SECONDS / 60)) min"
