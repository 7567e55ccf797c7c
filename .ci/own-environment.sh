# For scripts to source: says which command failed where `set -e` ends a script, and takes out of the environment what would change where
# cd goes, or what cargo and rustc make.
# What configuration files say, .cargo/config.toml answers. CARGO_TARGET_DIR stays: where things are put is the caller's to say.
set -E
trap 'echo "${BASH_SOURCE[0]}: line $LINENO failed ($?): $BASH_COMMAND" >&2' ERR
# So npm says why it fails, and nothing else, and tries a few times.
export npm_config_loglevel=error npm_config_fetch_retries=5 npm_config_audit=false npm_config_fund=false
unset CDPATH
for name in $(compgen -e); do
  case $name in
    RUSTC | RUSTC_* | RUSTFLAGS | RUSTDOCFLAGS | RUSTDOC | CARGO_ENCODED_* | CARGO_BUILD_TARGET | CARGO_BUILD_RUST* | CARGO_PROFILE_* | CARGO_TARGET_*_*)
      unset "$name"
      ;;
  esac
done
unset name
