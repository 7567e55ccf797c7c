"""The kernel's registers, and the invariant that every export keeps.

Nothing is said of what lies in the memory: a host may have written anywhere. So what follows holds whatever the memory holds.
"""

import z3

from symbolic import MOST_PAGES, PAGE, conjunction, unsigned
from wasm import I32, I64

# The registers as `src/machine.rs` declares them, in the order of the file's globals: type, and value in a new instance.
REGISTERS = {
    "island": (I64, 32),
    "span": (I64, 0),
    "dirty": (I64, 0),
    "owned": (I64, 65536),
    "gap_start": (I64, -1),
    "gap_end": (I64, 0),
    "floor": (I32, 65496),
    "top": (I32, 65496),
    "last": (I32, 0),
    "tail": (I32, 8),
    "clock": (I32, 0),
    "root_bit": (I32, 1),
    "input_offset": (I64, 0),
    "input_length": (I64, 0),
    "output_offset": (I64, 0),
    "output_length": (I64, 0),
    "error": (I64, 0),
}

BASE = 32  # the first byte of the heap
HINT = 8  # bytes in front of a block's data
GUARD = 8  # bytes between data and records
RECORD = 24  # bytes of a record
MARGIN = 24  # bytes at the end of the memory that are never used
RING = 8  # the ring of freed blocks, seen as a record
NO_GAP = 2**64 - 1


class Registers:
    """The registers by name, as numbers of 64 bits, and the size of the memory in bytes."""

    def __init__(self, globals, pages):
        self.raw, self.pages = globals, pages
        for name, value in zip(REGISTERS, globals):
            setattr(self, name, unsigned(value))
        self.size = pages << 16
        self.frontier = self.island + self.span

    def has_gap(self):
        return self.gap_end != 0


def multiple(value, of):
    """Whether it is a multiple of that power of two."""
    return value & (of - 1) == 0


def ordered(*values):
    """Each at most as large as the next."""
    values = [z3.BitVecVal(value, 64) if isinstance(value, int) else value for value in values]
    return conjunction([z3.ULE(a, b) for a, b in zip(values, values[1:])])


# The parts of the invariant, each with the sentence that it is.
PARTS = {
    "the memory is at least a page and at most 4 GiB": lambda r: z3.And(z3.UGE(r.pages, 1), z3.ULE(r.pages, MOST_PAGES)),
    "records, one after the other, lie above the data and its guard, and end in front of the margin": lambda r: z3.And(
        ordered(r.island, r.frontier, r.frontier + GUARD, r.floor, r.top), ordered(r.top + MARGIN, r.size)
    ),
    "the heap has its ends at multiples of 8": lambda r: z3.And([multiple(x, 8) for x in (r.island, r.span, r.floor, r.top)]),
    "there is no gap, or a gap that holds more than a record, above the low memory": lambda r: z3.If(
        r.has_gap(),
        z3.And(ordered(BASE + HINT, r.gap_start, r.gap_start + RECORD, r.gap_end, r.size), multiple(r.gap_start, 8), multiple(r.gap_end, PAGE)),
        r.gap_start == NO_GAP,
    ),
    "the island in use is the first, with its records in front of the gap, or the one behind it": lambda r: z3.If(
        r.island == BASE,
        z3.ULE(r.top, r.gap_start),
        z3.And(r.has_gap(), r.island == r.gap_end),
    ),
    "what was stored beyond the frontier lies below the top, and not in the gap": lambda r: z3.And(
        ordered(r.dirty, r.top), z3.Or(z3.ULE(r.dirty, r.gap_start), z3.UGE(r.dirty, r.gap_end))
    ),
    "behind the gap reset knows that something was used": lambda r: z3.Or(r.island == BASE, r.dirty != 0),
    "if nothing was used, the registers of the heap are as in a new instance": lambda r: z3.Implies(
        z3.And(r.span == 0, r.dirty == 0),
        z3.And(r.island == BASE, r.floor == r.top, r.last == 0, r.tail == RING, r.clock == 0, r.root_bit == 1),
    ),
    "there is a record, or the low memory, where the last block's is": lambda r: ordered(r.last + RECORD, r.size),
    "there is a record, or the ring, where the ring ends": lambda r: ordered(r.tail + RECORD, r.size),
    "the input lies in the memory": lambda r: in_memory(r, r.input_offset, r.input_length),
    "the output lies in the memory": lambda r: in_memory(r, r.output_offset, r.output_length),
    "the error begins in the memory": lambda r: z3.ULT(r.error, r.size),
    "the kernel owns no more than there is": lambda r: ordered(r.owned, r.size),
}


# Records fill the place between floor and top. Who supposes it is given a number of records; who has to show it must find one.
NO_HOLES = "there is a whole number of records"


def suppose_no_holes(r, records):
    return r.top - r.floor == records * RECORD


def show_no_holes(r, known):
    """Enough for it: as many as were known somewhere before, or up to two more or less, or none."""
    bytes = r.top - r.floor
    return z3.And(z3.ULE(r.floor, r.top), z3.Or([bytes == 0] + [bytes == (records + more) * RECORD for records in known for more in (0, 1, -1, 2, -2)]))


def in_memory(r, offset, length):
    return z3.And(ordered(offset, r.size), ordered(length, r.size - offset))


def holds(r):
    """The whole invariant."""
    return z3.And([part(r) for part in PARTS.values()])


def start(kind, value):
    return z3.BitVecVal(value, 32 if kind == I32 else 64)
