//! Nothing: the tests are those of the kernel itself, see Cargo.toml.
