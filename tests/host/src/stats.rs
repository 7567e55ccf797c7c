use std::{collections::BTreeMap, fmt};

/// What a plugin did since it was built, for a look at what its calls cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// How often the plugin called each of the kernel's exports, by name; those never called are left out.
    /// The host's own calls of them are not counted.
    pub kernel_calls: BTreeMap<String, u64>,
    /// The size of the kernel's memory, in pages of 64 KiB.
    pub kernel_pages: u64,
    /// Fuel burnt in the plugin and in whatever it called: about one unit per WebAssembly instruction.
    pub fuel: u64,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, calls) in &self.kernel_calls {
            writeln!(f, "{name:<16}{calls:>12}")?;
        }
        writeln!(f, "{:<16}{:>12}", "pages", self.kernel_pages)?;
        write!(f, "{:<16}{:>12}", "fuel", self.fuel)
    }
}
