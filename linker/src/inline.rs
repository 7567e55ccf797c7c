//! The bodies of the kernel's leaf functions (loads, stores, input loads, getters) in place of their calls.
//!
//! A call finds its arguments on the stack; so does the body, which takes them into locals that the caller gets for this, and leaves its
//! result there. Functions that call others, that loop or that are long stay where they are.

use crate::{
    Error,
    indices::KernelIndices,
    kernel::{Function, Kernel},
};
use std::collections::HashMap;
use wasm_encoder::{BlockType, Encode, Instruction, reencode::Reencode};
use wasmparser::{Operator, ValType};

/// Bytes of the longest body that is put in place of a call: that of `length`, which some plugins call in a loop, fits.
const LONGEST: usize = 128;

/// The functions of the kernel whose bodies may take the place of their calls, by their index.
#[derive(Default)]
pub(crate) struct Leaves<'a>(HashMap<u32, Leaf<'a>>);

/// A function that calls nothing.
pub(crate) struct Leaf<'a> {
    /// The types of parameters and locals.
    locals: Vec<ValType>,
    params: usize,
    /// The locals behind the parameters that may be read before they are written, so they have to be zero at first.
    zeroed: Vec<usize>,
    result: Option<ValType>,
    /// Whether something branches to the end of the function, which has to be a block's then.
    leaves_early: bool,
    /// Without the last `end`.
    operators: &'a [Operator<'a>],
}

impl<'a> Leaves<'a> {
    /// Those of a kernel.
    pub fn of(kernel: &'a Kernel<'a>) -> Self {
        let leaf = |index: u32| {
            let ty = kernel.signature(index);
            let leaf = Leaf::new(&kernel.functions[index as usize], ty.params(), ty.results())?;
            Some((index, leaf))
        };
        Self(kernel.exported().into_iter().filter_map(leaf).collect())
    }

    /// That function of the kernel, if it is one.
    pub fn get(&self, function: u32) -> Option<&Leaf<'a>> {
        self.0.get(&function)
    }
}

impl<'a> Leaf<'a> {
    fn new(function: &'a Function<'a>, params: &[ValType], results: &[ValType]) -> Option<Self> {
        let (Operator::End, operators) = function.operators.split_last()? else {
            return None;
        };
        let too_much = |operator: &Operator| {
            use Operator as O;
            matches!(
                operator,
                O::Call { .. }
                    | O::CallIndirect { .. }
                    | O::ReturnCall { .. }
                    | O::ReturnCallIndirect { .. }
                    | O::Loop { .. }
            )
        };
        if function.bytes > LONGEST || results.len() > 1 || operators.iter().any(too_much) {
            return None;
        }
        let mut locals = params.to_vec();
        for &(count, ty) in &function.locals {
            locals.extend((0..count).map(|_| ty));
        }
        let mut written = vec![false; locals.len()];
        let mut read_first = vec![false; locals.len()];
        let (mut depth, mut leaves_early) = (0, false);
        for operator in operators {
            match *operator {
                Operator::Block { .. } | Operator::If { .. } => depth += 1,
                Operator::End => depth -= 1,
                Operator::Return => leaves_early = true,
                Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => {
                    leaves_early |= relative_depth == depth;
                }
                Operator::BrTable { .. } => leaves_early = true,
                // What is written inside of a block need not have been written behind it.
                Operator::LocalSet { local_index } | Operator::LocalTee { local_index }
                    if depth == 0 =>
                {
                    written[local_index as usize] = true;
                }
                Operator::LocalGet { local_index } => {
                    read_first[local_index as usize] |= !written[local_index as usize];
                }
                _ => {}
            }
        }
        let zeroed = (params.len()..locals.len())
            .filter(|&local| read_first[local])
            .collect();
        Some(Self {
            locals,
            params: params.len(),
            zeroed,
            result: results.first().copied(),
            leaves_early,
            operators,
        })
    }

    /// Writes the body to `code`, for a caller whose locals are in `pool`.
    pub fn write(
        &self,
        pool: &mut Pool,
        mut kernel: KernelIndices,
        code: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let locals = pool.take(&self.locals);
        for &param in locals[..self.params].iter().rev() {
            Instruction::LocalSet(param).encode(code);
        }
        for &local in &self.zeroed {
            zero(self.locals[local]).encode(code);
            Instruction::LocalSet(locals[local]).encode(code);
        }
        if self.leaves_early {
            let ty = match self.result {
                None => BlockType::Empty,
                Some(ty) => BlockType::Result(kernel.val_type(ty)?),
            };
            Instruction::Block(ty).encode(code);
        }
        let mut depth = 0;
        for operator in self.operators {
            let instruction = match *operator {
                Operator::LocalGet { local_index } => {
                    Instruction::LocalGet(locals[local_index as usize])
                }
                Operator::LocalSet { local_index } => {
                    Instruction::LocalSet(locals[local_index as usize])
                }
                Operator::LocalTee { local_index } => {
                    Instruction::LocalTee(locals[local_index as usize])
                }
                Operator::Return => Instruction::Br(depth),
                ref other => {
                    match other {
                        Operator::Block { .. } | Operator::If { .. } => depth += 1,
                        Operator::End => depth -= 1,
                        _ => {}
                    }
                    kernel.instruction(other.clone())?
                }
            };
            instruction.encode(code);
        }
        if self.leaves_early {
            Instruction::End.encode(code);
        }
        Ok(())
    }
}

fn zero(ty: ValType) -> Instruction<'static> {
    match ty {
        ValType::I32 => Instruction::I32Const(0),
        ValType::I64 => Instruction::I64Const(0),
        ValType::F32 => Instruction::F32Const(0.0.into()),
        ValType::F64 => Instruction::F64Const(0.0.into()),
        ValType::V128 | ValType::Ref(_) => unreachable!("the kernel has only numbers"),
    }
}

/// Locals that a function of the plugin gets for the bodies that are put into it. These are never inside of each other, so all
/// share the same ones.
pub(crate) struct Pool {
    /// How many locals, with the parameters, the function had.
    first: u32,
    /// The types of those added.
    pub added: Vec<ValType>,
}

impl Pool {
    /// For a function that has so many locals, with its parameters.
    pub fn new(first: u32) -> Self {
        Self {
            first,
            added: Vec::new(),
        }
    }

    /// How many locals there are now, with the parameters.
    pub fn len(&self) -> u32 {
        self.first + self.added.len() as u32
    }

    /// One local for each of these types.
    fn take(&mut self, types: &[ValType]) -> Vec<u32> {
        let mut taken: Vec<u32> = Vec::new();
        for &ty in types {
            let free =
                |at: &u32| self.added[*at as usize] == ty && !taken.contains(&(self.first + at));
            let at = (0..self.added.len() as u32).find(free).unwrap_or_else(|| {
                self.added.push(ty);
                self.added.len() as u32 - 1
            });
            taken.push(self.first + at);
        }
        taken
    }
}
