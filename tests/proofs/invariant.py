"""The kernel's registers, and the invariant that every export keeps.

Nothing is said of what lies in the memory: a host may have written anywhere. So what follows holds whatever the memory holds.
"""

import z3

from symbolic import MOST_PAGES, PAGE, conjunction, unsigned
from wasm import I32, I64

BASE = 248  # the first byte of the heap
HINT = 8  # bytes in front of a block's data
GUARD = 8  # bytes between data and records
RECORD = 24  # bytes of a record
MARGIN = 24  # bytes at the end of the memory that are never used
SPARE_RECORDS = 23  # for which fresh space keeps room
OVERHEAD = HINT + GUARD + (1 + SPARE_RECORDS) * RECORD  # what must be free beside a block's data to cut it off the fresh space
RESERVE = BASE + OVERHEAD + 1  # where the register starts
BEYOND = 1 << 40  # more than any floor: added to it behind a gap
PATIENCE = 64  # how many freed blocks wait

# The registers as `src/machine.rs` declares them, in the order of the file's globals: type, and value in a new instance.
REGISTERS = {
    "common": (I64, 0),
    "far": (I64, 0),
    "dirty": (I64, 0),
    "reserve": (I64, RESERVE),
    "owned": (I64, 65536),
    "growing": (I64, 0),
    "gap_start": (I64, 0),
    "gap_end": (I64, 0),
    "floor": (I32, 65496),
    "peak": (I32, 65472),
    "front": (I32, 1),
    "front_peak": (I32, 0),
    "island": (I64, 0),
    "last": (I32, 0),
    "tail": (I32, 0),
    "patience": (I32, PATIENCE),
    "bins": (I64, 0),
    "put_off": (I64, 0),
    "input_offset": (I64, 0),
    "input_length": (I64, 0),
    "output_offset": (I64, 0),
    "output_length": (I64, 0),
    "error": (I64, 0),
}


class Registers:
    """The registers by name, as numbers of 64 bits, with what follows from them, and the size of the memory in bytes."""

    def __init__(self, globals, pages):
        self.raw, self.pages = globals, pages
        for name, value in zip(REGISTERS, globals):
            setattr(self, name, unsigned(value))
        self.size = pages << 16
        self.frontier = BASE + self.common + self.far
        self.top = self.peak + RECORD  # where the highest record ends
        self.front_top = self.front_peak + RECORD  # the same in front of a gap that was crossed
        self.known_end = self.owned + (self.gap_end - self.gap_start)  # where the memory ends as far as the kernel knows

    def has_gap(self):
        return self.gap_end != 0

    def has_crossed(self):
        return self.island != 0


def multiple(value, of):
    """Whether it is a multiple of that power of two."""
    return value & (of - 1) == 0


def ordered(*values):
    """Each at most as large as the next."""
    values = [z3.BitVecVal(value, 64) if isinstance(value, int) else value for value in values]
    return conjunction([z3.ULE(a, b) for a, b in zip(values, values[1:])])


def short(*values):
    """Each at most 2^32: what follows from other parts, but is easier to see where it is said."""
    return z3.And([z3.ULE(value, 2**32) for value in values])


def in_memory(r, offset, length):
    return z3.And(ordered(offset, r.size), ordered(length, r.size - offset))


def is_record(r, record):
    """Whether a record may begin there."""
    return z3.Or(ordered(r.floor, record, r.peak), ordered(r.front, record, r.front_peak))


def is_place(r, record):
    """Whether the bytes of a record there, or of the record of none, lie in the known memory, and in no gap."""
    return z3.And(
        ordered(record + RECORD, r.known_end),
        z3.Or(z3.Not(r.has_gap()), ordered(record + RECORD, r.gap_start), ordered(r.gap_end, record)),
    )


# The parts of the invariant, each with the sentence that it is.
PARTS = {
    "the memory has at least a page, and at most 4 GiB": lambda r: z3.And(z3.UGE(r.pages, 1), z3.ULE(r.pages, MOST_PAGES)),
    "the kernel knows of no more memory than there is": lambda r: z3.And(
        ordered(PAGE, r.owned, r.known_end, r.size), multiple(r.owned, PAGE), short(r.owned, r.known_end)
    ),
    "no growth is under way": lambda r: r.growing == 0,
    "there is no gap, or one of whole pages behind the first": lambda r: z3.If(
        r.has_gap(),
        z3.And(ordered(PAGE, r.gap_start, r.gap_end, r.known_end), multiple(r.gap_start, PAGE), multiple(r.gap_end, PAGE), r.gap_start != r.gap_end, short(r.gap_start, r.gap_end)),
        r.gap_start == 0,
    ),
    "records, one after the other, end in front of the margin of the known memory": lambda r: z3.And(
        ordered(r.floor, r.top, r.top + MARGIN, r.known_end), ordered(BASE + GUARD, r.floor)
    ),
    "heap and records have their ends at multiples of 8": lambda r: z3.And(
        [multiple(x, 8) for x in (r.common, r.far, r.floor, r.peak, r.front_peak)]
    ),
    "if no gap was crossed, data and guard lie below the records, and all in front of the gap": lambda r: z3.Implies(
        z3.Not(r.has_crossed()),
        z3.And(
            r.far == 0,
            r.front_peak == 0,
            r.front != 0,
            ordered(r.common, r.frontier, r.frontier + GUARD, r.floor),
            short(r.common),
            z3.Or(z3.Not(r.has_gap()), ordered(r.top + MARGIN, r.gap_start)),
        ),
    ),
    "if one was, data, guard and records lie in front of it, and others behind it": lambda r: z3.Implies(
        r.has_crossed(),
        z3.And(
            r.has_gap(),
            r.island == r.gap_end,
            ordered(r.common, BASE + r.common + GUARD, r.front, r.front_top, r.front_top + MARGIN, r.gap_start),
            multiple(r.front, 8),
            ordered(r.gap_end, r.frontier, r.frontier + GUARD, r.floor),
            ordered(r.far, r.size),
            short(r.common, r.far, r.frontier, r.island),
        ),
    ),
    "what is cut off the fresh space without a further look leaves the reserve": lambda r: z3.And(
        ordered(RESERVE, r.reserve, 2 * BEYOND), z3.Implies(r.has_crossed(), ordered(BEYOND + RESERVE, r.reserve))
    ),
    "what was stored beyond the frontier lies in the known memory": lambda r: z3.And(ordered(r.dirty, r.known_end), short(r.dirty)),
    "if a gap was crossed, or more is reserved, reset knows it": lambda r: z3.Implies(
        z3.Or(r.has_crossed(), r.reserve != RESERVE), r.dirty != 0
    ),
    "if nothing was used, the registers of the heap are as in a new instance": lambda r: z3.Implies(
        (r.common | r.dirty) == 0,
        z3.And(
            z3.Not(r.has_crossed()), r.reserve == RESERVE, r.floor == r.top, r.last == 0, r.tail == 0, r.patience == PATIENCE, r.bins == 0
        ),
    ),
    "where the last block's record is, there may be one": lambda r: is_place(r, r.last),
    "where the record of the last of those that wait is, there may be one": lambda r: is_place(r, r.tail),
    "the input lies in the memory": lambda r: in_memory(r, r.input_offset, r.input_length),
    "the output lies in the memory": lambda r: in_memory(r, r.output_offset, r.output_length),
    "the error begins in the memory": lambda r: z3.ULT(r.error, r.size),
}


# The last part: records lie at multiples of their size. Who supposes it is given a number of slots, who shows it must have come upon one.
SLOTS = "records lie at multiples of their size"


def suppose_slots(r, run, tag=None, reached=None):
    """What a multiple is, is not looked into: a number is one because it is equal to one (`Run.divide`)."""
    slot = run.fresh("slot", 64)
    run.fact(z3.And(ordered(slot, 2**32), multiple(slot, 8)))
    fact = r.top == slot
    run.fact(fact if reached is None else z3.Implies(reached, fact), tag)
    run.multiples.append((RECORD, slot))


def show_slots(r, multiples):
    return z3.Or([r.top == multiple for factor, multiple in multiples if factor == RECORD] + [z3.BoolVal(False)])


def no_multiple_between():
    """What `Run.divide` says of multiples: one that is at most a number is at most the largest such multiple."""
    number, slots, quotient = z3.Ints("number slots quotient")
    largest = z3.And(quotient * RECORD <= number, number - quotient * RECORD < RECORD)
    return z3.Implies(z3.And(largest, slots * RECORD <= number), slots * RECORD <= quotient * RECORD)
