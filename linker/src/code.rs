//! The plugin's code: copied as it is, but for what refers to a function, and to the size of the memory where that is shared.

use crate::{
    Error,
    indices::{KernelIndices, PluginIndices},
    inline::{Leaves, Pool},
};
use wasm_encoder::{Encode, Instruction, reencode::Reencode};
use wasmparser::{
    FuncValidator, FunctionBody, Operator, OperatorsReader, ValType, WasmModuleResources,
};

/// The most locals that a function can have, with its parameters: what engines agreed on.
const MOST_LOCALS: u32 = 50_000;
/// More than the locals of the largest leaf.
const LEAF_LOCALS: u32 = 100;

/// How a memory that plugin and kernel share looks to the plugin.
#[derive(Clone, Copy)]
pub(crate) struct SharedMemory {
    /// The global that holds the byte at which the plugin's part ends.
    pub base: u32,
    /// The global that says whether a move of the kernel's part has begun and not ended.
    pub moving: u32,
    /// The function that stands for `memory.grow`.
    pub grow: u32,
}

/// Rewrites the plugin's functions, one after the other.
pub(crate) struct Rewriter<'a> {
    /// Where everything is.
    pub plugin: &'a PluginIndices,
    /// Where everything of the kernel is.
    pub kernel: KernelIndices,
    /// What is put in place of calls; empty if nothing is.
    pub leaves: Leaves<'a>,
    /// The memory, if it is shared.
    pub shared: Option<SharedMemory>,
    /// Bytes by which the code may still grow.
    pub budget: usize,
    /// Calls whose place the body took.
    pub inlined: usize,
    /// Calls that remained as the budget was used up.
    pub left: usize,
}

impl Rewriter<'_> {
    /// Validates a function of the plugin as it is, and returns it as it is in the joined module.
    pub fn function<R: WasmModuleResources>(
        &mut self,
        body: &FunctionBody<'_>,
        validator: &mut FuncValidator<R>,
    ) -> Result<Vec<u8>, Error> {
        let bytes = body.as_bytes();
        let start = body.range().start;
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader)?;
        let locals_end = reader.original_position();
        let mut pool = Pool::new(validator.len_locals());
        let mut code = Vec::with_capacity(bytes.len() + bytes.len() / 8);
        // Everything before this is in `code`.
        let mut copied = locals_end;
        let mut operators = OperatorsReader::new(reader);
        while !operators.eof() {
            let (operator, at) = operators.read_with_offset()?;
            validator.op(at, &operator)?;
            let replaced = match operator {
                Operator::Call { .. } | Operator::ReturnCall { .. } | Operator::RefFunc { .. } => {
                    true
                }
                Operator::MemorySize { .. } | Operator::MemoryGrow { .. } => self.shared.is_some(),
                _ => false,
            };
            if replaced {
                code.extend_from_slice(&bytes[copied - start..at - start]);
                copied = operators.original_position();
                self.replace(operator, copied - at, &mut pool, &mut code)?;
            }
        }
        operators.finish()?;
        let end = operators.original_position();
        code.extend_from_slice(&bytes[copied - start..end - start]);
        let mut function = with_locals(&bytes[..locals_end - start], &pool.added)?;
        function.append(&mut code);
        Ok(function)
    }

    fn replace(
        &mut self,
        operator: Operator<'_>,
        bytes: usize,
        pool: &mut Pool,
        code: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match (operator, self.shared) {
            (Operator::Call { function_index }, _) => self.call(function_index, bytes, pool, code),
            (Operator::MemorySize { .. }, Some(shared)) => {
                Instruction::GlobalGet(shared.base).encode(code);
                Instruction::I32Const(16).encode(code);
                Instruction::I32ShrU.encode(code);
                Ok(())
            }
            (Operator::MemoryGrow { .. }, Some(shared)) => {
                Instruction::Call(shared.grow).encode(code);
                Ok(())
            }
            (other, _) => {
                let mut plugin = self.plugin;
                plugin.instruction(other)?.encode(code);
                Ok(())
            }
        }
    }

    fn call(
        &mut self,
        function: u32,
        bytes: usize,
        pool: &mut Pool,
        code: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let leaf = self
            .plugin
            .kernel_function(function)
            .and_then(|index| self.leaves.get(index));
        if let Some(leaf) = leaf
            && pool.len() <= MOST_LOCALS - LEAF_LOCALS
        {
            let start = code.len();
            leaf.write(pool, self.kernel, code)?;
            let growth = (code.len() - start).saturating_sub(bytes);
            if growth <= self.budget {
                self.budget -= growth;
                self.inlined += 1;
                return Ok(());
            }
            code.truncate(start);
            self.left += 1;
        }
        Instruction::Call(self.plugin.function(function)).encode(code);
        Ok(())
    }
}

/// The declaration of a function's locals with some more of them.
fn with_locals(declared: &[u8], added: &[ValType]) -> Result<Vec<u8>, Error> {
    if added.is_empty() {
        return Ok(declared.to_vec());
    }
    let mut reader = wasmparser::BinaryReader::new(declared, 0);
    let count = reader.read_var_u32()?;
    let mut bytes = Vec::with_capacity(declared.len() + 8);
    let runs = added.chunk_by(|one, next| one == next);
    (count + runs.clone().count() as u32).encode(&mut bytes);
    bytes.extend_from_slice(&declared[reader.original_position()..]);
    for run in runs {
        (run.len() as u32).encode(&mut bytes);
        wasm_encoder::reencode::RoundtripReencoder
            .val_type(run[0])?
            .encode(&mut bytes);
    }
    Ok(bytes)
}
