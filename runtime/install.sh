#!/usr/bin/env bash
# Installs libextism for programs in C and C++, or takes it back.
[ -n "${BASH_VERSION-}" ] || { echo "runtime/install.sh: this needs bash: run 'bash runtime/install.sh'" >&2; exit 1; }
set -euo pipefail

usage='usage: runtime/install.sh [--legacy] [--prefix DIR] [--destdir DIR] [--libraries DIR]
       runtime/install.sh [--legacy] [--prefix DIR] [--destdir DIR] --uninstall

  --legacy         the library with the API from before 1.0 instead; it has the same names, so another prefix
  --prefix DIR     where to install; /usr/local if not given
  --destdir DIR    puts all of it below DIR, for a package of what will be at the prefix
  --libraries DIR  takes libextism.so and libextism.a (libextism_legacy.so, libextism_legacy.a) from DIR; if not given, cargo builds
                   what is missing
  --uninstall      removes what was installed to this prefix, and nothing else'
fail() {
  echo "runtime/install.sh: $1" >&2
  exit 1
}
misused() {
  printf 'runtime/install.sh: %s\n%s\n' "$1" "$usage" >&2
  exit 2
}

# The SONAMEs' numbers are as in build.rs.
product=extism package=. built=libextism abi=1
prefix=/usr/local destdir='' libraries='' uninstall=''
while [ $# != 0 ]; do
  case $1 in
    --help)
      echo "$usage"
      exit
      ;;
    --legacy)
      product=extism-legacy package=legacy built=libextism_legacy abi=0
      shift
      ;;
    --uninstall)
      uninstall=yes
      shift
      ;;
    --prefix=* | --destdir=* | --libraries=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --prefix | --destdir | --libraries)
      case ${2-} in
        '' | --*) misused "$1 needs a folder" ;;
        /*) folder=$2 ;;
        *) folder=$PWD/$2 ;;
      esac
      printf -v "${1#--}" %s "${folder%/}"
      shift 2
      ;;
    *) misused "unknown argument '$1'" ;;
  esac
done
[ -z "$uninstall" ] || [ -z "$libraries" ] || misused "--uninstall takes no --libraries"
# What files of pkg-config or CMake, or the list of what was installed, can't say.
case $prefix in
  *[\"\\\`\$\#\;]* | *$'\n'*) misused "a prefix can't contain \" \\ \` \$ # ; or a line break" ;;
esac

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
. ../.ci/own-environment.sh
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$package/Cargo.toml" | head -n 1)

# What an install has made, in the order in which it did, itself included: folders end with a slash, and a destdir isn't named.
list=$prefix/share/$product/installed

remove() {
  local path
  # Backwards, so that folders come behind what is in them, and the list behind all that it names.
  tac "$destdir$list" | while IFS= read -r path; do
    case $path in
      */) rmdir "$destdir$path" 2>/dev/null || true ;; # somebody else's files are in it
      *) rm -f "$destdir$path" ;;
    esac
  done
}

# Programs find a library of the system's folders by a cache.
renew_cache() {
  if [ -z "$destdir" ] && [ "$(id -u)" = 0 ] && command -v ldconfig >/dev/null; then
    ldconfig
  fi
}

if [ "$uninstall" ]; then
  [ -e "$destdir$list" ] || fail "nothing that this script has installed is at $destdir$prefix"
  remove
  renew_cache
  echo "removed libextism from $destdir$prefix"
  exit
fi

[ "$(uname -s)" = Linux ] || fail "this is for Linux; elsewhere, copy the library that cargo builds"
if [ -z "$libraries" ]; then
  command -v cargo >/dev/null ||
    fail "cargo is missing: install Rust with rustup, or say with --libraries where the built libraries are"
  libraries=$(./shipped.sh "$package")
fi
for library in "$built.so" "$built.a"; do
  [ -f "$libraries/$library" ] || fail "$libraries/$library isn't there"
done

lib=$prefix/lib
cmake=$lib/cmake/extism
doc=$prefix/share/doc/$product
soname=libextism.so.$abi
files=(
  "$prefix/include/extism.h"
  "$lib/libextism.so.$version" "$lib/$soname" "$lib/libextism.so" "$lib/libextism.a"
  "$lib/pkgconfig/extism.pc" "$lib/pkgconfig/extism-static.pc"
  "$cmake/extism-config.cmake" "$cmake/extism-config-version.cmake"
  "$doc/LICENSE" "$doc/THIRD-PARTY-LICENSES"
)
# Or to uninstall would take away what somebody else has put there.
for file in "${files[@]}"; do
  [ -e "$destdir$file" ] || [ -L "$destdir$file" ] || continue
  grep -qsxF -- "$file" "$destdir$list" ||
    fail "$destdir$file is there, but this script hasn't installed it: remove it, or choose another --prefix"
done
[ ! -e "$destdir$list" ] || remove

made=()
make_folder() {
  [ ! -d "$destdir$1" ] || return 0
  make_folder "$(dirname "$1")"
  mkdir -m 755 "$destdir$1" || fail "choose another --prefix, or run this as who may write there"
  made+=("$1/")
}
# Noted before it is made: after a failure half-way, --uninstall finds all of it.
note() { # FILE: with the folders that it needs
  made=()
  make_folder "$(dirname "$1")"
  printf '%s\n' "${made[@]}" "$1" | sed '/^$/d' >>"$destdir$list"
}
put() { # SOURCE FILE
  note "$2"
  install -m "${3-644}" "$1" "$destdir$2"
}
fill_in() { # SOURCE FILE: with the places in it filled in
  local text
  text=$(cat "$1")
  text=${text//@prefix@/"$prefix"} text=${text//@version@/"$version"} text=${text//@soname@/"$soname"}
  note "$2"
  printf '%s\n' "$text" | install -m 644 /dev/stdin "$destdir$2"
}
link() { # TARGET FILE
  note "$2"
  ln -s "$1" "$destdir$2"
}

mkdir -p "$destdir/"
note "$list"
chmod 644 "$destdir$list"
put "$package/include/extism.h" "$prefix/include/extism.h"
put "$libraries/$built.so" "$lib/libextism.so.$version" 755
link "libextism.so.$version" "$lib/$soname"
link "$soname" "$lib/libextism.so"
put "$libraries/$built.a" "$lib/libextism.a"
for file in extism extism-static; do
  fill_in "packaging/$file.pc" "$lib/pkgconfig/$file.pc"
done
for file in extism-config extism-config-version; do
  fill_in "packaging/$file.cmake" "$cmake/$file.cmake"
done
put ../LICENSE "$doc/LICENSE"
put THIRD-PARTY-LICENSES "$doc/THIRD-PARTY-LICENSES"
renew_cache

echo "installed libextism $version to $destdir$prefix:"
printf '  %s\n' "${files[@]#"$prefix/"}"
