//! The conformance cases through a plugin that does nothing but re-export what it imports of the kernel, linked in every way.

mod common;
// The replayer of the runners for engines in Rust, which are formatted in another way: it knows of an engine only what the traits
// below say.
#[rustfmt::skip]
#[path = "../../tests/engines/rust/src/conformance.rs"]
mod replayer;

use common::{LINKED, Way, engine};
use extism_kernel_linker::PREFIX;
use std::{
    fmt::{Debug, Write},
    path::Path,
    sync::Arc,
};
use wasmtime::{Extern, ExternType, Instance, Module, Store, StoreLimits, StoreLimitsBuilder};

type Error = String;

fn error(error: impl Debug) -> Error {
    format!("{error:?}")
}

fn timed<R>(work: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    // What doesn't end runs out of fuel.
    work()
}

/// What the global `extism_context` is: none of the kernels that are linked has one.
#[derive(Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the replayer names all of them")]
enum Context {
    Absent,
    Null,
    Ours,
}

trait Engine: Sized {
    const NAME: &str;
    type Kernel: Kernel;
    fn kernel(&self, max_pages: Option<u32>) -> Result<Self::Kernel, Error>;
}

trait Kernel {
    fn call(&mut self, export: &str, arguments: &[u64]) -> Result<u64, Error>;
    fn size(&mut self) -> u64;
    fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Error>;
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error>;
    fn grow(&mut self, pages: u32) -> Result<(), Error>;
    fn exports(&mut self) -> Vec<String>;
    fn set_context(&mut self) -> Result<(), Error>;
    fn context(&mut self) -> Context;
}

/// A plugin with so many pages of its own that imports every function of the kernel and exports it again.
fn plugin(pages: Option<u32>) -> Vec<u8> {
    let mut text = String::from("(module\n");
    let kernel = Module::new(engine(), extism_kernel::KERNEL_BULK).unwrap();
    for export in kernel.exports() {
        let (name, ExternType::Func(ty)) = (export.name(), export.ty()) else {
            continue;
        };
        let list = |types: &mut dyn Iterator<Item = wasmtime::ValType>| {
            types.map(|ty| format!(" {ty}")).collect::<String>()
        };
        let (params, results) = (list(&mut ty.params()), list(&mut ty.results()));
        writeln!(
            text,
            "(func (export \"{name}\") (import \"extism:host/env\" \"{name}\") (param{params}) (result{results}))"
        )
        .unwrap();
    }
    if let Some(pages) = pages {
        writeln!(text, "(memory (export \"memory\") {pages})").unwrap();
    }
    wat::parse_str(text + ")").unwrap()
}

struct Linked {
    module: Module,
    /// Pages of the plugin.
    own: u32,
    /// Whether the kernel's memory comes behind them.
    shared: bool,
}

impl Engine for Linked {
    const NAME: &str = "Wasmtime, linked";
    type Kernel = Running;

    fn kernel(&self, max_pages: Option<u32>) -> Result<Running, Error> {
        let below = if self.shared { self.own } else { 0 };
        let limits = match max_pages {
            // The plugin's own memory, if it is another, doesn't grow.
            Some(pages) => StoreLimitsBuilder::new()
                .memory_size((pages + below) as usize * common::PAGE)
                .build(),
            None => StoreLimits::default(),
        };
        let mut store = Store::new(engine(), limits);
        store.limiter(|limits| limits);
        store.set_fuel(10_000_000_000).unwrap();
        let instance = Instance::new(&mut store, &self.module, &[]).map_err(error)?;
        let exports: Vec<(String, Extern)> = instance
            .exports(&mut store)
            .map(|export| (export.name().to_owned(), export.into_extern()))
            .collect();
        // By the names of the plugin: these are the functions that it imported and the linker put there.
        let plain = exports
            .iter()
            .filter(|(name, _)| !name.starts_with(PREFIX) && name != "memory")
            .cloned();
        let of_the_kernel = exports
            .iter()
            .filter(|(name, it)| name.starts_with(PREFIX) && it.clone().into_func().is_none());
        let of_the_kernel =
            of_the_kernel.map(|(name, it)| (name[PREFIX.len()..].to_owned(), it.clone()));
        let names = plain
            .clone()
            .map(|(name, _)| name)
            .chain(["memory".to_owned()])
            .collect();
        let kernel = common::Kernel::new(plain.chain(of_the_kernel), "");
        Ok(Running {
            store,
            kernel,
            names,
        })
    }
}

struct Running {
    store: Store<StoreLimits>,
    kernel: common::Kernel,
    names: Vec<String>,
}

impl Kernel for Running {
    fn call(&mut self, export: &str, arguments: &[u64]) -> Result<u64, Error> {
        let results = self
            .kernel
            .call(&mut self.store, export, arguments)
            .map_err(error)?;
        Ok(results.first().copied().unwrap_or(0))
    }
    fn size(&mut self) -> u64 {
        self.kernel.bytes(&mut self.store).len() as u64
    }
    fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let bytes = self.kernel.bytes(&mut self.store);
        Ok(bytes
            .get(offset as usize..(offset + length) as usize)
            .ok_or("outside")?
            .to_vec())
    }
    fn write(&mut self, offset: u64, written: &[u8]) -> Result<(), Error> {
        let bytes = self.kernel.bytes(&mut self.store);
        bytes
            .get_mut(offset as usize..offset as usize + written.len())
            .ok_or("outside")?
            .copy_from_slice(written);
        Ok(())
    }
    fn grow(&mut self, pages: u32) -> Result<(), Error> {
        self.kernel
            .memory()
            .grow(&mut self.store, pages.into())
            .map_err(error)?;
        Ok(())
    }
    fn exports(&mut self) -> Vec<String> {
        self.names.clone()
    }
    fn set_context(&mut self) -> Result<(), Error> {
        Err("there is none".to_owned())
    }
    fn context(&mut self) -> Context {
        Context::Absent
    }
}

#[test]
fn the_kernel_of_a_linked_module_passes_all_cases() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/conformance.json");
    let json = std::fs::read(file).unwrap();
    for way in LINKED {
        // In two memories the limit is for each, and the kernel's is at least a page.
        let most = if matches!(way, Way::One(..)) { 3 } else { 1 };
        for pages in [None, Some(most)] {
            let module = Module::new(engine(), way.module(&plugin(pages))).unwrap();
            let linked = Linked {
                module,
                own: pages.unwrap_or(0),
                shared: matches!(way, Way::One(..)),
            };
            let cases = replayer::read(&json).unwrap();
            assert!(cases.len() >= 503);
            let failed = replayer::replay(&Arc::new(linked), cases);
            assert_eq!(failed, 0, "{way:?}, {pages:?} pages of the plugin");
        }
    }
}
