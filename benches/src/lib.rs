//! Measures the kernel.
