//! Wasmer's way to limit memories: an engine whose tunables give each a maximum.

use std::ptr::NonNull;

use wasmer::{
    Engine, MemoryType, Pages, TableType,
    sys::{
        BaseTunables, EngineBuilder, NativeEngineExt, Singlepass, Tunables,
        vm::{
            MemoryError, MemoryStyle, TableStyle, VMConfig, VMMemory, VMMemoryDefinition, VMTable, VMTableDefinition,
        },
    },
};

/// An engine. If a limit is given, none of its memories can become larger; one that starts out larger can't be made.
pub fn engine(max_pages: Option<u32>) -> Engine {
    let mut engine: Engine = EngineBuilder::new(Singlepass::default()).into();
    if let Some(pages) = max_pages {
        engine.set_tunables(Limited { max: Pages(pages), base: BaseTunables::new() });
    }
    engine
}

struct Limited {
    max: Pages,
    base: BaseTunables,
}

impl Limited {
    fn limit(&self, memory: &MemoryType) -> Result<MemoryType, MemoryError> {
        if memory.minimum > self.max {
            return Err(MemoryError::Generic(format!("it starts with more than {} pages", self.max.0)));
        }
        let maximum = memory.maximum.map_or(self.max, |maximum| maximum.min(self.max));
        Ok(MemoryType { maximum: Some(maximum), ..*memory })
    }
}

impl Tunables for Limited {
    fn memory_style(&self, memory: &MemoryType) -> MemoryStyle {
        self.base.memory_style(memory)
    }

    fn table_style(&self, table: &TableType) -> TableStyle {
        self.base.table_style(table)
    }

    fn create_host_memory(&self, ty: &MemoryType, style: &MemoryStyle) -> Result<VMMemory, MemoryError> {
        self.base.create_host_memory(&self.limit(ty)?, style)
    }

    unsafe fn create_vm_memory(
        &self,
        ty: &MemoryType,
        style: &MemoryStyle,
        location: NonNull<VMMemoryDefinition>,
    ) -> Result<VMMemory, MemoryError> {
        // SAFETY: the caller promises what the base asks of its caller; a maximum takes nothing from that.
        unsafe { self.base.create_vm_memory(&self.limit(ty)?, style, location) }
    }

    fn create_host_table(&self, ty: &TableType, style: &TableStyle) -> Result<VMTable, String> {
        self.base.create_host_table(ty, style)
    }

    unsafe fn create_vm_table(
        &self,
        ty: &TableType,
        style: &TableStyle,
        location: NonNull<VMTableDefinition>,
    ) -> Result<VMTable, String> {
        // SAFETY: as above.
        unsafe { self.base.create_vm_table(ty, style, location) }
    }

    fn vmconfig(&self) -> &VMConfig {
        self.base.vmconfig()
    }
}
