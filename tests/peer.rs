//! This kernel beside the peer, the kernel that the crate `extism` carries: well-behaved sequences, as plugins and hosts
//! produce them, give the same answers and the same data on both; and what calls cost on both, in Wasmtime's fuel.
//!
//! `cargo test --release --test peer -- --nocapture fuel` prints the table.

mod model;

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::OnceLock,
};

use artefacts::peer;
use model::{Call, PAGE, Subject, Wasm, shipped};
use proptest::{prelude::*, test_runner::Config};
use wasmtime::Module;

/// Each of our modules and the peer, in this order.
fn kernels() -> [&'static Module; 3] {
    static PEER: OnceLock<Module> = OnceLock::new();
    let [ours, _, mvp] = shipped();
    let peer = PEER
        .get_or_init(|| Module::new(ours.engine(), peer::kernel()).expect("the peer is a module"));
    [ours, mvp, peer]
}

// --- the same answers -------------------------------------------------------------------------------------------------

/// What plugins and hosts do during a call. Blocks are named by their number, modulo how many there are.
#[derive(Clone, Debug)]
enum Action {
    /// A plugin allocates and writes data with `store_u64` and `store_u8`, as every PDK does.
    PluginAlloc(Vec<u8>),
    /// A host allocates and copies data into the memory itself.
    HostAlloc(Vec<u8>),
    /// A plugin reads a block with `load_u64` and `load_u8`.
    Read(u8),
    /// A plugin or host releases a block that is neither output nor error.
    Free(u8),
    /// A host function: reads its argument, frees it, and returns a block.
    HostFunction(u8, Vec<u8>),
    /// A plugin overwrites part of its block.
    Overwrite(u8, u8, u8),
    /// A plugin reads its input.
    ReadInput,
    /// A plugin outputs a block.
    Output(u8),
    /// c-pdk outputs a slice of a block.
    OutputSlice(u8, u8, u8),
    /// A plugin sets or clears the error.
    Error(Option<u8>),
    /// A host begins a call, with its input.
    Call(Vec<u8>),
}

/// Data as something to compare and to read.
fn brief(data: &[u8]) -> String {
    if data.len() <= 40 {
        return format!("{data:?}");
    }
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    format!("{} bytes, hash {:x}", data.len(), hasher.finish())
}

/// A kernel with the blocks of the current call.
struct Session {
    kernel: Wasm,
    /// Handle and length, in the order in which they were allocated.
    blocks: Vec<(u64, u64)>,
}

impl Session {
    fn new(module: &Module) -> Self {
        Self {
            kernel: Wasm::new(module),
            blocks: Vec::new(),
        }
    }

    fn block(&self, n: u8) -> Option<(u64, u64)> {
        let n = usize::from(n).checked_rem(self.blocks.len())?;
        Some(self.blocks[n])
    }

    fn alloc(&mut self, data: &[u8], by_host: bool) -> u64 {
        let handle = self.kernel.alloc(data.len() as u64);
        if data.is_empty() {
            return handle;
        }
        assert_ne!(handle, 0, "{} bytes can be had", data.len());
        if by_host {
            self.kernel.memory_mut()[handle as usize..][..data.len()].copy_from_slice(data);
        } else {
            let words = data.chunks_exact(8);
            let rest = words.remainder();
            let tail = handle + (data.len() - rest.len()) as u64;
            for (offset, word) in (handle..).step_by(8).zip(words) {
                self.kernel
                    .store_u64(offset, u64::from_le_bytes(word.try_into().unwrap()));
            }
            for (offset, &byte) in (tail..).zip(rest) {
                self.kernel.store_u8(offset, byte.into());
            }
        }
        self.blocks.push((handle, data.len() as u64));
        handle
    }

    /// Reads as PDKs do: words, then bytes.
    fn read(
        &mut self,
        start: u64,
        length: u64,
        word: fn(u64) -> Call,
        byte: fn(u64) -> Call,
    ) -> Vec<u8> {
        let words = length / 8;
        let mut data = Vec::new();
        for i in 0..words {
            data.extend(self.kernel.call(word(start + 8 * i)).to_le_bytes());
        }
        for i in 8 * words..length {
            data.push(self.kernel.call(byte(start + i)) as u8);
        }
        data
    }

    fn free(&mut self, handle: u64) {
        self.kernel.free(handle);
        self.blocks.retain(|block| block.0 != handle);
    }

    /// Whether input, output or error lie in the block that starts there: nobody who behaves well frees it.
    fn is_named(&mut self, handle: u64) -> bool {
        let (input, output, error) = self.kernel.named();
        let length = self.kernel.length(handle);
        [input.0, output.0, error]
            .iter()
            .any(|named| (handle..handle + length).contains(named))
    }

    /// An offset as something to compare: the block that it lies in and how far, since addresses differ.
    fn relative(&self, offset: u64) -> String {
        let inside = |block: &&(u64, u64)| {
            block.0 <= offset && (offset - block.0 < block.1 || offset == block.0)
        };
        match self.blocks.iter().rev().find(inside) {
            None if offset == 0 => "none".into(),
            None => "gone".into(),
            Some(block) => {
                let number = self.blocks.iter().position(|other| other == block);
                format!("block {number:?}+{}", offset - block.0)
            }
        }
    }

    fn act(&mut self, action: &Action) -> String {
        match action {
            Action::PluginAlloc(data) => (self.alloc(data, false) == 0).to_string(),
            Action::HostAlloc(data) => (self.alloc(data, true) == 0).to_string(),
            Action::Read(n) => {
                let (handle, length) = self.block(*n).unwrap_or_default();
                let data = self.read(handle, length, Call::LoadU64, Call::LoadU8);
                brief(&data)
            }
            Action::Free(n) => {
                let (handle, _) = self.block(*n).unwrap_or_default();
                if handle != 0 && !self.is_named(handle) {
                    self.free(handle);
                }
                self.kernel.length(handle).to_string()
            }
            Action::HostFunction(n, result) => {
                let (handle, _) = self.block(*n).unwrap_or_default();
                if handle == 0 || self.is_named(handle) {
                    return String::new();
                }
                let length = self.kernel.length(handle);
                let argument = self.kernel.memory()[handle as usize..][..length as usize].to_vec();
                self.free(handle);
                self.alloc(result, true);
                brief(&argument)
            }
            Action::Overwrite(n, at, value) => {
                if let Some((handle, length)) = self.block(*n) {
                    let offset = handle + u64::from(*at) % length;
                    self.kernel.store_u8(offset, (*value).into());
                    return self.kernel.load_u8(offset).to_string();
                }
                String::new()
            }
            Action::ReadInput => {
                let length = self.kernel.call(Call::InputLength);
                let data = self.read(0, length, Call::InputLoadU64, Call::InputLoadU8);
                let behind = self.kernel.call(Call::InputLoadU8(length));
                format!("{} {behind}", brief(&data))
            }
            Action::Output(n) => {
                if let Some((handle, length)) = self.block(*n) {
                    self.kernel.output_set(handle, length);
                }
                String::new()
            }
            Action::OutputSlice(n, from, to) => {
                if let Some((handle, length)) = self.block(*n) {
                    let (from, to) = (u64::from(*from) % length, u64::from(*to) % length);
                    let (from, to) = (from.min(to), from.max(to));
                    self.kernel.output_set(handle + from, to - from + 1);
                }
                String::new()
            }
            Action::Error(None) => {
                self.kernel.error_set(0);
                String::new()
            }
            Action::Error(Some(n)) => {
                let (handle, _) = self.block(*n).unwrap_or_default();
                self.kernel.error_set(handle);
                String::new()
            }
            Action::Call(input) => {
                self.kernel.error_set(0);
                self.kernel.reset();
                self.blocks.clear();
                let handle = self.alloc(input, true);
                self.kernel.input_set(handle, input.len() as u64);
                String::new()
            }
        }
    }

    /// All that can be seen but addresses: what the action answered, the registers, every length, the output's data.
    fn observe(&mut self, action: &Action) -> String {
        let answer = self.act(action);
        let (input, output, error) = self.kernel.named();
        let data = &self.kernel.memory()[output.0 as usize..][..output.1 as usize];
        let data = brief(data);
        let lengths: Vec<_> = (self.blocks.clone().iter())
            .map(|&(handle, length)| {
                assert_eq!(self.kernel.length(handle), length);
                let unsafely = self.kernel.call(Call::LengthUnsafe(handle));
                (self.kernel.length(handle), unsafely)
            })
            .collect();
        let nobody = (
            self.kernel.length(0),
            self.kernel.call(Call::LengthUnsafe(0)),
        );
        let input = (self.relative(input.0), input.1);
        let output = (self.relative(output.0), output.1);
        let error = (self.relative(error), self.kernel.length(error));
        format!("{answer} {lengths:?} {nobody:?} {input:?} {output:?} {error:?} {data}")
    }
}

/// An action for a reader, who wants no thousand bytes.
fn shown(action: &Action) -> String {
    format!("{action:?}").chars().take(200).collect()
}

/// Actions, of which a failure prints one a line.
struct Sequence(Vec<Action>);

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|action| write!(f, "\n    {},", shown(action)))
    }
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 1..most);
    prop_oneof![
        6 => bytes(40),
        3 => bytes(400),
        1 => (1..100_000usize, any::<u8>()).prop_map(|(n, byte)| vec![byte; n]),
    ]
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => Just(Vec::new()), 4 => data()]
}

fn action() -> impl Strategy<Value = Action> {
    let n = any::<u8>;
    prop_oneof![
        6 => data().prop_map(Action::PluginAlloc),
        2 => data().prop_map(Action::HostAlloc),
        4 => n().prop_map(Action::Read),
        5 => n().prop_map(Action::Free),
        5 => (n(), data()).prop_map(|(n, data)| Action::HostFunction(n, data)),
        2 => (n(), n(), n()).prop_map(|(n, at, value)| Action::Overwrite(n, at, value)),
        2 => Just(Action::ReadInput),
        2 => n().prop_map(Action::Output),
        1 => (n(), n(), n()).prop_map(|(n, from, to)| Action::OutputSlice(n, from, to)),
        1 => prop::option::of(n()).prop_map(Action::Error),
        2 => input().prop_map(Action::Call),
    ]
}

proptest! {
    #![proptest_config(Config {
        // `PROPTEST_CASES` scales it.
        cases: Config::default().cases / 2,
        failure_persistence: None,
        ..Config::default()
    })]
    #[test]
    fn well_behaved_sequences_are_the_same_on_the_peer(
        actions in prop::collection::vec(action(), 1..60).prop_map(Sequence)
    ) {
        let mut sessions = kernels().map(Session::new);
        for action in [Action::Call(vec![7; 20])].iter().chain(&actions.0) {
            let [ours, mvp, peer] = sessions.each_mut().map(|session| session.observe(action));
            prop_assert_eq!(&ours, &peer, "{}", shown(action));
            prop_assert_eq!(&mvp, &peer, "{}", shown(action));
        }
    }
}

/// What the peer's defects are, seen on the peer: where it is wrong this kernel must not follow it, and the comparison
/// above must be able to fail.
#[test]
fn the_peer_differs_where_the_contract_says_so() {
    let lengths = kernels().map(|module| {
        let mut kernel = Wasm::new(module);
        let error = kernel.alloc(16);
        kernel.error_set(error);
        kernel.free(error);
        (kernel.alloc(1 << 48) == 0, kernel.length(error))
    });
    assert_eq!(lengths, [(true, 16), (true, 16), (false, 0)]);
}

// --- what calls cost --------------------------------------------------------------------------------------------------

/// Wasmtime's fuel for a call.
fn fuel(kernel: &mut Wasm, call: Call) -> u64 {
    let (result, fuel) = kernel.attempt(call, model::ENDLESS);
    assert!(result.is_some(), "{call:?} trapped");
    fuel
}

/// How a row of the table is measured.
type Measure = Box<dyn Fn(&mut Wasm) -> u64>;

/// A kernel with a block of 64 bytes that is the input, among a few others.
fn ordinary(kernel: &mut Wasm) -> u64 {
    kernel.alloc(64);
    let handle = kernel.alloc(64);
    kernel.alloc(64);
    kernel.input_set(handle, 64);
    handle
}

/// One call of an export on the ordinary block.
fn one(call: fn(u64) -> Call) -> Measure {
    Box::new(move |kernel| {
        let handle = ordinary(kernel);
        fuel(kernel, call(handle))
    })
}

/// One call of an export on the block allocated last of so many live ones, which is the farthest for a walk.
fn last_of(blocks: u64, call: fn(u64) -> Call) -> Measure {
    Box::new(move |kernel| {
        let handles: Vec<_> = (0..blocks).map(|_| kernel.alloc(64)).collect();
        fuel(kernel, call(handles[handles.len() - 1]))
    })
}

fn reset_of(bytes: u64) -> Measure {
    Box::new(move |kernel| {
        // The peer sets itself up in its first call.
        kernel.reset();
        kernel.alloc(bytes);
        fuel(kernel, Call::Reset)
    })
}

/// A whole call that copies its input to its output, as an echo plugin does: what host and plugin ask of the kernel.
fn whole_call(bytes: u64) -> Measure {
    Box::new(move |kernel| {
        let mut total = 0;
        // The second one is measured: the first has to grow the memory.
        for _ in 0..2 {
            total = fuel(kernel, Call::ErrorSet(0)) + fuel(kernel, Call::Reset);
            let mut call = |call: Call| -> u64 {
                let (result, fuel) = kernel.attempt(call, model::ENDLESS);
                total += fuel;
                result.expect("no trap")
            };
            let input = if bytes == 0 {
                0
            } else {
                call(Call::Alloc(bytes))
            };
            call(Call::InputSet(input, bytes));
            let length = call(Call::InputLength);
            let output = call(Call::Alloc(length));
            for i in 0..length / 8 {
                let word = call(Call::InputLoadU64(8 * i));
                call(Call::StoreU64(output + 8 * i, word));
            }
            call(Call::OutputSet(output, length));
            call(Call::OutputOffset);
            call(Call::OutputLength);
            let error = call(Call::ErrorGet);
            call(Call::Length(error));
        }
        total
    })
}

/// What is measured, and the goal: the most of the peer's fuel that it should cost.
fn rows() -> Vec<(&'static str, f64, Measure)> {
    vec![
        ("load_u8", 0.60, one(Call::LoadU8)),
        ("load_u64", 0.60, one(Call::LoadU64)),
        ("store_u8", 0.60, one(|p| Call::StoreU8(p, 5))),
        ("store_u64", 0.60, one(|p| Call::StoreU64(p, 5))),
        ("input_load_u8", 0.60, one(|_| Call::InputLoadU8(5))),
        ("input_load_u64", 0.60, one(|_| Call::InputLoadU64(5))),
        ("input_length", 0.25, one(|_| Call::InputLength)),
        ("input_offset", 0.25, one(|_| Call::InputOffset)),
        ("output_length", 0.25, one(|_| Call::OutputLength)),
        ("output_offset", 0.25, one(|_| Call::OutputOffset)),
        ("error_get", 0.25, one(|_| Call::ErrorGet)),
        ("memory_bytes", 0.25, one(|_| Call::MemoryBytes)),
        ("alloc, fresh", 1.00, one(|_| Call::Alloc(64))),
        ("length, 1 live", 1.00, last_of(1, Call::Length)),
        ("length, 10 live", 0.50, last_of(10, Call::Length)),
        ("length, 100 live", 0.50, last_of(100, Call::Length)),
        ("length_unsafe", 1.00, one(Call::LengthUnsafe)),
        ("free, 1 live", 1.00, last_of(1, Call::Free)),
        ("free, 10 live", 0.50, last_of(10, Call::Free)),
        ("free, 100 live", 0.50, last_of(100, Call::Free)),
        ("output_set", 1.00, one(|p| Call::OutputSet(p, 64))),
        ("input_set", 1.00, one(|p| Call::InputSet(p, 64))),
        ("error_set", 1.00, one(Call::ErrorSet)),
        (
            "reset, 0 B, the first",
            0.50,
            Box::new(|kernel| fuel(kernel, Call::Reset)),
        ),
        ("reset, 0 B, again", 0.50, reset_of(0)),
        ("reset, 4 KiB", 0.50, reset_of(4 << 10)),
        ("reset, 1 MiB", 0.50, reset_of(1 << 20)),
        ("reset, 10 MiB", 0.50, reset_of(10 << 20)),
        ("call, 0 B", 0.50, whole_call(0)),
        ("call, 4 KiB", 0.50, whole_call(4 << 10)),
        ("call, 1 MiB", 0.50, whole_call(1 << 20)),
    ]
}

/// The table of benches/README.md is the committed one: what costs more than it says there fails here, and so does what costs less.
#[test]
fn fuel_is_what_readme_says() {
    let mut table =
        "| | goal | this | MVP file | peer | ratio |\n|---|---:|---:|---:|---:|---:|\n".to_owned();
    for (name, goal, measure) in rows() {
        let [ours, mvp, peer] = kernels().map(|module| measure(&mut Wasm::new(module)));
        let ratio = ours as f64 / peer as f64;
        let mark = if ratio > goal { "**" } else { "" };
        let line =
            format!("| {name} | {goal:.2} | {ours} | {mvp} | {peer} | {mark}{ratio:.2}{mark} |\n");
        table.push_str(&line);
    }
    println!("{table}");
    assert!(
        include_str!("../benches/README.md").contains(&format!("<!-- fuel -->\n{table}\n")),
        "benches/README.md has another table under fuel than the one above"
    );
}

/// Run in wasm, since a million calls from here take long.
const BLOCKS: &str = r#"(module
  (import "kernel" "alloc" (func $alloc (param i64) (result i64)))
  (import "kernel" "free" (func $free (param i64)))
  (memory 123) ;; for 1,000,000 handles
  ;; Allocates so many blocks, and only then, if told so, frees all but the middle one. Returns its handle.
  (func (export "blocks") (param $count i32) (param $freed i32) (result i64)
    (local $at i32) (local $end i32) (local $middle i32)
    (local.set $end (i32.mul (local.get $count) (i32.const 8)))
    (local.set $middle (i32.mul (i32.div_u (local.get $count) (i32.const 2)) (i32.const 8)))
    (loop $next
      (i64.store (local.get $at) (call $alloc (i64.const 24)))
      (if (i64.eqz (i64.load (local.get $at))) (then unreachable))
      (br_if $next (i32.lt_u
        (local.tee $at (i32.add (local.get $at) (i32.const 8)))
        (local.get $end))))
    (if (local.get $freed) (then
      (local.set $at (i32.const 0))
      (loop $next
        (if (i32.ne (local.get $at) (local.get $middle)) (then
          (call $free (i64.load (local.get $at)))))
        (br_if $next (i32.lt_u
          (local.tee $at (i32.add (local.get $at) (i32.const 8)))
          (local.get $end))))))
    (i64.load (local.get $middle))))"#;

/// A `free` of a block made right after the last one freed cost 622, beyond the 64 that wait, when each was merged and filed by itself; a pair of
/// one size, when fresh space was used up, 715.
#[test]
fn fuel_of_frees_in_order_and_of_pairs_of_one_size_is_bounded() {
    for module in shipped() {
        let mut kernel = Wasm::new(module);
        let handles: Vec<_> = (0..1_000).map(|_| kernel.alloc(64)).collect();
        for handle in handles {
            let cost = fuel(&mut kernel, Call::Free(handle));
            assert!(cost <= 300, "a free costs {cost}");
        }
        // And what uses up the fresh space again and again goes round among the blocks that wait.
        kernel.reset();
        let mut pairs = Vec::new();
        for _ in 0..10_000 {
            let handle = kernel.alloc(64);
            kernel.free(handle);
        }
        for _ in 0..1_000 {
            let (handle, cost) = kernel.attempt(Call::Alloc(64), model::ENDLESS);
            pairs.push(cost + fuel(&mut kernel, Call::Free(handle.expect("no trap"))));
        }
        let most = pairs.iter().max().unwrap();
        assert!(*most <= 300, "a pair costs {most}");
    }
}

/// `length` and `free` look at no other block, whether those are live or free.
#[test]
fn fuel_of_length_and_free_is_flat() {
    for (module, freed) in shipped()
        .iter()
        .flat_map(|module| [(module, 0), (module, 1)])
    {
        let mut costs: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for blocks in [10, 1_000, 100_000, 1_000_000] {
            let mut kernel = Wasm::new(module);
            let live = kernel.run_linked(BLOCKS, "blocks", &[blocks, freed]);
            let gone = kernel.alloc(24);
            kernel.free(gone);
            let handles = [
                ("freed", gone),
                ("interior", live + 8),
                ("garbage", PAGE << 40),
                // `free` of the live one comes last of all calls with it.
                ("live", live),
            ];
            for (kind, handle) in handles {
                let calls = [
                    ("length", Call::Length(handle)),
                    ("length_unsafe", Call::LengthUnsafe(handle)),
                    ("free", Call::Free(handle)),
                ];
                for (name, call) in calls {
                    if (kind, name) == ("live", "length") {
                        assert_eq!(kernel.length(handle), 24, "it is a live block");
                    }
                    let row = costs.entry(format!("{name} {kind}")).or_default();
                    row.push(fuel(&mut kernel, call));
                }
            }
        }
        for (row, mut costs) in costs {
            if freed != 0 && row == "free live" {
                // Beyond 64 that wait, a `free` merges one: how much that costs doesn't depend on how many are free.
                assert!(costs[1..].iter().all(|&cost| cost <= 900), "{costs:?}");
                costs.remove(0);
            }
            let others = if freed == 0 { "live" } else { "free" };
            println!("{row}: {costs:?} among 10, 1,000, 100,000 and 1,000,000 {others} blocks");
            let spread = costs.iter().max().unwrap() - costs.iter().min().unwrap();
            assert!(spread <= 8, "{row} among {others} blocks: {costs:?}");
        }
    }
}
