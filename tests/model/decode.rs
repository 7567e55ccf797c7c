//! Operations from bytes, as fuzzers mutate them: what they find replays from a file.

use arbitrary::{Arbitrary, Result, Unstructured};

use super::{EDGES, Op, PAGE, Place};

/// The page limit and the operations that the bytes stand for. Any bytes do.
pub fn decode(bytes: &[u8]) -> (u64, Vec<Op>) {
    let mut bytes = Unstructured::new(bytes);
    let limit = match u8::arbitrary(&mut bytes).unwrap_or(0) % 8 {
        // As many as no input needs.
        7 => 64,
        n => u64::from(n % 3) + 1,
    };
    let mut ops = Vec::new();
    // The model looks at everything after each step: longer sequences find less in the same time.
    while !bytes.is_empty() && ops.len() < 400 {
        let Ok(op) = op(&mut bytes) else { break };
        ops.push(op);
    }
    (limit, ops)
}

fn edge(bytes: &mut Unstructured) -> Result<u64> {
    let delta: i8 = bytes.arbitrary()?;
    Ok(bytes.choose(&EDGES)?.wrapping_add_signed(delta.into()))
}

fn size(bytes: &mut Unstructured) -> Result<u64> {
    Ok(match u8::arbitrary(bytes)? % 8 {
        0..=3 => u8::arbitrary(bytes)?.into(),
        4 | 5 => u64::from(u16::arbitrary(bytes)?) % 4096,
        6 => u64::from(u16::arbitrary(bytes)?) + PAGE * (u64::from(u8::arbitrary(bytes)?) % 3),
        _ => edge(bytes)?,
    })
}

fn place(bytes: &mut Unstructured) -> Result<Place> {
    let kind = u8::arbitrary(bytes)? % 12;
    let delta = bytes.arbitrary()?;
    Ok(match kind {
        0..=2 => Place::Live(bytes.arbitrary()?, 0),
        3 => Place::Live(bytes.arbitrary()?, delta),
        4 => Place::LiveEnd(bytes.arbitrary()?, delta),
        5 => Place::Stale(bytes.arbitrary()?, delta),
        6 => Place::Base(delta),
        7 => Place::Frontier(delta),
        8 => Place::Floor(delta),
        9 => Place::Gap(bytes.arbitrary()?, delta),
        10 => Place::MemoryEnd(delta),
        _ => Place::Exact(edge(bytes)?),
    })
}

fn op(bytes: &mut Unstructured) -> Result<Op> {
    Ok(match u8::arbitrary(bytes)? % 32 {
        0..=7 => Op::Alloc(size(bytes)?),
        8 => Op::AllocLike(u8::arbitrary(bytes)? % 4),
        // Small blocks would take the model too long.
        9 => Op::UseUp(u16::arbitrary(bytes)? % 2048 + 256),
        10..=15 => Op::Free(Place::Live(bytes.arbitrary()?, 0)),
        16 => Op::Free(place(bytes)?),
        17 => Op::Length(place(bytes)?),
        18 => Op::Load(place(bytes)?),
        19 => Op::StoreU8(place(bytes)?, bytes.arbitrary()?),
        20 | 21 => Op::StoreU64(place(bytes)?, bytes.arbitrary()?),
        22 => Op::InputSet(place(bytes)?, size(bytes)?),
        23 => Op::InputBlock(bytes.arbitrary()?),
        24 => Op::InputLoad(size(bytes)?),
        25 => Op::InputLoadEnd(bytes.arbitrary()?),
        26 => Op::OutputSet(place(bytes)?, size(bytes)?),
        27 => Op::OutputToFloor(place(bytes)?, bytes.arbitrary()?),
        28 => Op::ErrorSet(place(bytes)?),
        29 => Op::Reset,
        30 => Op::HostFill(bytes.arbitrary()?, bytes.arbitrary()?),
        _ => Op::HostGrow(u8::arbitrary(bytes)? % 3 + 1),
    })
}
