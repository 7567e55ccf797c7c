//! The values that host functions take and return.

/// The type of a value.
#[derive(Debug, Clone, Copy, Hash, PartialEq, Eq)]
pub enum ValType {
    /// An integer of 32 bits.
    I32,
    /// An integer of 64 bits; handles of blocks are such.
    I64,
    /// A float of 32 bits.
    F32,
    /// A float of 64 bits.
    F64,
    /// A vector of 128 bits. No host function can have it: creating the plugin fails.
    V128,
    /// A reference to a function. No host function can have it: creating the plugin fails.
    FuncRef,
    /// A reference to something of the host's. No host function can have it: creating the plugin fails.
    ExternRef,
}

/// The type of a block's handle.
pub const PTR: ValType = ValType::I64;

/// A value. Floats are kept as their bits, so that a NaN arrives as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Val {
    /// An integer of 32 bits.
    I32(i32),
    /// An integer of 64 bits.
    I64(i64),
    /// The bits of a float of 32 bits.
    F32(u32),
    /// The bits of a float of 64 bits.
    F64(u64),
    /// A vector of 128 bits. Host functions are never given one.
    V128(u128),
    /// The null reference to a function. Host functions are never given one.
    FuncRef,
    /// The null reference to something of the host's. Host functions are never given one.
    ExternRef,
}

macro_rules! accessors {
    ($($get:ident $unwrap:ident $variant:ident($ty:ty) $value:ident => $make:expr;)*) => {$(
        #[doc = concat!("The value, if it is a `", stringify!($variant), "`.")]
        pub fn $get(&self) -> Option<$ty> {
            match *self {
                Self::$variant($value) => Some($make),
                _ => None,
            }
        }

        #[doc = concat!("The value, which has to be a `", stringify!($variant), "`.\n\n# Panics\n\nIf it is another.")]
        #[track_caller]
        pub fn $unwrap(&self) -> $ty {
            match self.$get() {
                Some(value) => value,
                None => panic!(concat!("expected ", stringify!($variant), ", got {:?}"), self),
            }
        }
    )*};
}

impl Val {
    accessors! {
        i32 unwrap_i32 I32(i32) value => value;
        i64 unwrap_i64 I64(i64) value => value;
        f32 unwrap_f32 F32(f32) bits => f32::from_bits(bits);
        f64 unwrap_f64 F64(f64) bits => f64::from_bits(bits);
    }

    /// The value's type.
    pub fn ty(&self) -> ValType {
        match self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
            Self::V128(_) => ValType::V128,
            Self::FuncRef => ValType::FuncRef,
            Self::ExternRef => ValType::ExternRef,
        }
    }

    /// 0 of this type, or the null reference.
    pub fn zero(ty: ValType) -> Self {
        match ty {
            ValType::I32 => Self::I32(0),
            ValType::I64 => Self::I64(0),
            ValType::F32 => Self::F32(0),
            ValType::F64 => Self::F64(0),
            ValType::V128 => Self::V128(0),
            ValType::FuncRef => Self::FuncRef,
            ValType::ExternRef => Self::ExternRef,
        }
    }

    /// From Wasmtime, which was told the function's type and keeps to it: there are no others than these four.
    pub(crate) fn from_wasm(value: &wasmtime::Val) -> Self {
        match *value {
            wasmtime::Val::I32(value) => Self::I32(value),
            wasmtime::Val::I64(value) => Self::I64(value),
            wasmtime::Val::F32(bits) => Self::F32(bits),
            wasmtime::Val::F64(bits) => Self::F64(bits),
            _ => Self::ExternRef,
        }
    }

    /// `None` for a type that host functions can't have.
    pub(crate) fn to_wasm(self) -> Option<wasmtime::Val> {
        match self {
            Self::I32(value) => Some(wasmtime::Val::I32(value)),
            Self::I64(value) => Some(wasmtime::Val::I64(value)),
            Self::F32(bits) => Some(wasmtime::Val::F32(bits)),
            Self::F64(bits) => Some(wasmtime::Val::F64(bits)),
            _ => None,
        }
    }
}

impl ValType {
    /// `None` for a type that host functions can't have.
    pub(crate) fn to_wasm(self) -> Option<wasmtime::ValType> {
        match self {
            Self::I32 => Some(wasmtime::ValType::I32),
            Self::I64 => Some(wasmtime::ValType::I64),
            Self::F32 => Some(wasmtime::ValType::F32),
            Self::F64 => Some(wasmtime::ValType::F64),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($ty:ty, $value:ident => $make:expr;)*) => {$(
        impl From<$ty> for Val {
            fn from($value: $ty) -> Self {
                $make
            }
        }
    )*};
}

from! {
    i32, value => Self::I32(value);
    i64, value => Self::I64(value);
    u32, value => Self::I32(value as i32);
    u64, value => Self::I64(value as i64);
    f32, value => Self::F32(value.to_bits());
    f64, value => Self::F64(value.to_bits());
}
