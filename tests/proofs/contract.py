"""What the contract says of each export, as statements over one call of it, or two.

The words here (heap, input, live block) are written down apart from the way in which the code decides them. `Call` is one call in any state
that the invariant allows; a statement is a name, and a condition that must be true of the call.
"""

from dataclasses import dataclass

import z3

from invariant import BASE, GUARD, HINT, MARGIN, RECORD, REGISTERS, Registers, is_place, is_record, ordered
from symbolic import low, unsigned

LIVE, WAITING = 0, 1
NONE = 8, 24  # the links of the record of none
MOST = 2**32 - HINT  # bytes of the largest block


# ---- words of the contract


def is_foreign(r, a):
    """Whether the byte at `a` belongs to somebody else: it lies in the gap, or behind what the kernel knows of."""
    return z3.Or(ordered(r.known_end, a), z3.And(r.has_gap(), ordered(r.gap_start, a), z3.ULT(a, r.gap_end)))


def is_heap(r, a):
    """Whether the byte at `a` lies in the heap: above the low memory, below the records; with a gap crossed, below those in front of it,
    or above the gap and below those behind it."""
    end = z3.If(z3.And(r.has_crossed(), z3.ULT(a, r.gap_end)), r.front, r.floor)
    return z3.And(ordered(BASE, a), z3.ULT(a, end))


def used(r, a):
    """The parts of what `reset` has to zero, and whether the byte at `a` is of them. If anything was used: what was handed out or stored
    to; the records; and of the low memory the links of none, and if anything was freed or may have been written there all."""
    anything = (r.common | r.dirty) != 0
    end = z3.If(ordered(r.frontier + GUARD, r.dirty), r.dirty, r.frontier + GUARD)
    rare = (r.bins | r.dirty | r.gap_end) != 0
    parts = {
        "data": z3.And(ordered(BASE, a), z3.ULT(a, end), z3.Not(is_foreign(r, a))),
        "the records": z3.And(ordered(r.floor, a), z3.ULT(a, r.top)),
        "those in front of a gap": z3.And(r.has_crossed(), ordered(r.front, a), z3.ULT(a, r.front_top)),
        "the links of none": z3.And(ordered(NONE[0], a), z3.ULT(a, NONE[1])),
        "the low memory": z3.And(rare, z3.ULT(a, BASE)),
    }
    return {name: z3.And(anything, part) for name, part in parts.items()}


def is_used(r, a):
    return z3.Or(list(used(r, a).values()))


def byte(memory, a):
    """The byte at `a`, or the one that is watched."""
    if z3.is_bv(memory):
        return memory
    return z3.Select(memory, low(a))


def word(memory, a, count=4):
    if count == 1:
        return byte(memory, a)
    return z3.Concat([byte(memory, a + i) for i in reversed(range(count))])


def record_of(memory, handle):
    """Where the hint in front of a block leads."""
    return unsigned(word(memory, handle - HINT))


def is_live(r, memory, handle):
    """Whether a live block starts at `handle`: it and its hint lie in the heap, the hint leads to a record, and that back to it."""
    record = record_of(memory, handle)
    handed_out = z3.Or(z3.ULT(handle - HINT - BASE, r.common), z3.And(r.far != 0, is_heap(r, handle - HINT), is_heap(r, handle)))
    return z3.And(
        handed_out, ordered(HINT, handle), handle & 7 == 0, record & 7 == 0, is_record(r, record), unsigned(word(memory, record)) == handle | LIVE
    )


# ---- where accesses may lie


def may_access(name, note, before, now, arguments):
    """Whether an export, or a function inside, may make this access, which lies in the memory: that is asked for all."""
    a, end = note.address, note.address + note.width
    if name in ("load_u8", "load_u64", "store_u8", "store_u64"):
        count = note.width.as_long()
        return z3.And(a == arguments[0], is_heap(before, a), is_heap(before, a + (count - 1)))
    if name in ("input_load_u8", "input_load_u64"):
        return z3.And(a == before.input_offset + arguments[0], ordered(before.input_offset, a, end, before.input_offset + before.input_length))
    if note.kind == "load":
        # What is read may be anything, and is checked before it leads to a write.
        return z3.BoolVal(True)
    if note.kind == "fill":
        # On one side of the gap.
        return z3.Or(note.width == 0, z3.Not(now.has_gap()), ordered(now.gap_end, a), ordered(end, now.gap_start))
    # A cell that a host has made up may be the low memory's last byte: three of what is written there are the first hint's.
    low_memory = ordered(a, end, BASE + 3)
    records = z3.Or(ordered(now.floor, a, end, now.top), ordered(now.front, a, end, now.front_top))
    hint = z3.And(note.width == 4, is_heap(now, a), is_heap(now, a + 3))
    # Where the last blocks' records are, unless a host has made these registers lead elsewhere.
    ends = [z3.And(ordered(one, a, end, one + RECORD), is_place(now, one)) for r in (before, now) for one in (r.last, r.tail)]
    return z3.Or(low_memory, records, hint, *ends)


# ---- calls


@dataclass
class Moment:
    """Registers and memory at one time."""

    registers: Registers
    memory: object

    def __getattr__(self, name):
        return getattr(self.registers, name)

    def live(self, handle):
        return is_live(self.registers, self.memory, handle)


class Call:
    def __init__(self, run, function, arguments, before, state, any):
        self.run, self.name, self.arguments = run, function.name, arguments
        self.before = before
        self.state = state
        self.after = Moment(Registers(state.globals, state.pages), state.memory)
        self.result = state.stack[-1] if state.stack else None
        self.any = any  # the address of any byte: what is said of it is said of all

    def same_memory(self):
        return byte(self.after.memory, self.any) == byte(self.before.memory, self.any)

    def same_registers(self, *but):
        pairs = zip(REGISTERS, self.before.raw, self.after.raw)
        return z3.And([one == other for name, one, other in pairs if name not in but])

    def nothing_changed(self):
        return z3.And(self.same_memory(), self.same_registers(), self.before.pages == self.after.pages)

    def became(self, **values):
        """The registers have these values, and all others those that they had."""
        named = [getattr(self.after, name) == value for name, value in values.items()]
        return z3.And(named + [self.same_registers(*values)])


def in_heap(c, a, count):
    """Whether `count` bytes, at most 8, from `a` on lie in the heap: the first and the last do, and so all between (`a_gap_is_larger`)."""
    return z3.And(is_heap(c.before, a), is_heap(c.before, a + (count - 1)))


def a_gap_is_larger(r):
    """What `in_heap` relies on, of any state: where two bytes lie in the heap that are at most 7 apart, so do those between."""
    a, i, j = z3.BitVecs("a i j", 64)
    return z3.Implies(z3.And(is_heap(r, a), is_heap(r, a + j), ordered(i, j, 7)), is_heap(r, a + i))


def load(c, count):
    (a,) = c.arguments
    inside = in_heap(c, a, count)
    content = unsigned(word(c.before.memory, a, count), c.result.size())
    yield "answers the bytes of the heap, little endian", z3.Implies(inside, c.result == content)
    yield "answers 0 if a byte lies outside of the heap", z3.Implies(z3.Not(inside), c.result == 0)
    yield "changes nothing", c.nothing_changed()


def store(c, count):
    a, value = c.arguments
    inside = in_heap(c, a, count)
    here = z3.ULT(c.any - a, count)
    stored = z3.Extract(7, 0, z3.LShR(unsigned(value), 8 * (c.any - a)))
    changed = byte(c.after.memory, c.any) != byte(c.before.memory, c.any)
    yield "stores the bytes in the heap, little endian", z3.Implies(
        z3.And(inside, here), byte(c.after.memory, c.any) == stored
    )
    yield "changes no other byte", z3.Implies(changed, here)
    yield "changes nothing if a byte lies outside of the heap", z3.Implies(z3.Not(inside), c.nothing_changed())
    yield "reset will zero what was stored", z3.Implies(changed, is_used(c.after, c.any))
    yield "reset will zero all that it would have zeroed before", z3.Implies(is_used(c.before, c.any), is_used(c.after, c.any))
    yield "changes no register but the mark of what was used", c.same_registers("dirty")


def getter(c, name):
    yield "answers the register", c.result == getattr(c.before, name)
    yield "changes nothing", c.nothing_changed()


def setter(c, offset, length):
    """Of output or input, where no free was put off."""
    yield "changes nothing but its two registers", z3.And(c.same_registers(offset, length), c.same_memory())


def range_setter(c, offset, length):
    a, count = c.arguments
    some = z3.BitVec("some", 64)  # any byte of the range
    set = z3.And(getattr(c.after, offset) == a, getattr(c.after, length) == count)
    kept = z3.And(getattr(c.after, offset) == getattr(c.before, offset), getattr(c.after, length) == getattr(c.before, length))
    yield "sets both or none", z3.Or(set, kept)
    yield "takes no range with a byte outside of the heap", z3.Or(
        kept, z3.UGE(some, count), is_heap(c.before, a + some)
    )
    yield "takes no empty range outside of the heap", z3.Or(kept, is_heap(c.before, a))
    # Were a range refused that lies in the heap, one of these bytes of it, too, would lie in the heap.
    ends = [0, count - 1, c.before.front - a, c.before.floor - a]
    outside = [z3.And(z3.ULT(i, count), z3.Not(is_heap(c.before, a + i))) for i in ends]
    yield "takes every range of the heap, also an empty one", z3.Or(set, z3.Not(is_heap(c.before, a)), *outside)


def input_load(c, count):
    (i,) = c.arguments
    r = c.before
    inside = z3.And([z3.ULT(i + k, r.input_length) for k in range(count)])
    inside = z3.And(inside, ordered(i, i + count - 1))
    a = r.input_offset + i
    yield "answers the bytes of the input, little endian, and 0 for all else", c.result == z3.If(
        inside, unsigned(word(r.memory, a, count), c.result.size()), 0
    )
    yield "changes nothing", c.nothing_changed()


def length(c):
    (handle,) = c.arguments
    n, b = c.result, c.before
    exact = unsigned(word(b.memory, record_of(b.memory, handle) + 4))
    yield "answers 0 for all but live blocks", z3.Implies(z3.Not(b.live(handle)), n == 0)
    yield "answers what the record says, or 0", z3.Or(n == exact, n == 0)
    yield "answers it if that many bytes lie below the highest record", z3.Implies(
        z3.And(b.live(handle), ordered(handle, handle + exact, b.peak)), n == exact
    )
    yield "answers no range that isn't in the memory", z3.Implies(
        n != 0, z3.And(ordered(HINT, handle, handle + n, b.size), handle & 7 == 0)
    )
    yield "changes nothing", c.nothing_changed()


def is_pinned(r, handle):
    return z3.Or(handle == r.output_offset, handle == r.error)


def is_patient(before, handle):
    """Whether as many blocks wait that none is merged."""
    return before.patience != 0


def free(c):
    (handle,) = c.arguments
    b, a = c.before, c.after
    live, pinned = b.live(handle), is_pinned(b, handle)
    freed = z3.And(live, z3.Not(pinned))
    yield "does nothing for what isn't live", z3.Implies(z3.Not(live), c.nothing_changed())
    yield "puts the free of output and error off, and changes nothing else", z3.Implies(
        z3.And(live, pinned), z3.And(c.same_memory(), c.same_registers("put_off"), is_put_off(a, handle))
    )
    yield "forgets no free that was put off", z3.Implies(
        z3.And(live, pinned), z3.Or(b.put_off >> 32 == 0, b.put_off == a.put_off, is_put_off(a, b.put_off & 0xFFFFFFFF))
    )
    yield "puts none off twice, so that it forgets none for it", z3.Implies(is_put_off(b, handle), a.put_off == b.put_off)
    yield "empties the input if that is freed, and changes no register of the contract else", z3.And(
        z3.Implies(freed, a.input_length == z3.If(handle == b.input_offset, 0, b.input_length)),
        z3.Implies(freed, c.same_registers("input_length", "tail", "patience")),
    )
    yield from block_freed(c, freed, handle)


def is_put_off(r, handle):
    return z3.Or(z3.LShR(r.put_off, 32) == handle, r.put_off & 0xFFFFFFFF == handle)


def block_freed(c, freed, handle):
    """What is true of a block that was freed while none was merged."""
    b, a = c.before, c.after
    record = record_of(b.memory, handle)
    tail = z3.Or(b.tail == 0, is_whole_record(b, b.tail))  # a host may have made it lead elsewhere
    yield "leaves every byte of the heap", z3.Implies(z3.And(tail, is_heap(b, c.any)), c.same_memory())
    written = z3.Or(z3.ULT(c.any - record, 4), z3.ULT(c.any - b.tail - 8, 4))
    yield "writes the block's state and a link, and nothing else", z3.Implies(freed, z3.Or(c.same_memory(), written))
    yield "it is the last of those that wait, and one fewer may", z3.Implies(freed, z3.And(a.tail == record, a.patience == b.patience - 1))
    yield "the record says that the block waits", z3.Implies(
        z3.And(freed, b.tail & 7 == 0, b.tail + 8 != record), unsigned(word(a.memory, record)) == handle | WAITING
    )
    yield "so that `length` doesn't believe it", z3.Implies(
        z3.And(freed, b.tail & 7 == 0, b.tail + 8 != record, tail), z3.Not(a.live(handle))
    )


def is_whole_record(r, record):
    return z3.Or(ordered(r.floor, record, r.peak), z3.And(r.has_crossed(), ordered(r.front, record, r.front_peak)))


def rounded(n):
    return (n + 7) & ~z3.BitVecVal(7, 64)


def is_impossible(before, n):
    return z3.Or(n == 0, z3.UGT(n, MOST))


def is_fresh(before, n):
    """Whether there is room above the last block: for its data, and for what the register reserves beside it."""
    room = before.frontier + rounded(n) + (before.reserve - BASE - 1)
    return z3.And(z3.Not(is_impossible(before, n)), z3.Not(before.has_crossed()), ordered(room, before.floor))


def alloc_impossible(c):
    (n,) = c.arguments
    yield "answers 0 for impossible sizes", c.result == 0
    yield "and changes no byte, and no register but the mark of what reset zeroes", z3.And(c.same_memory(), c.same_registers("dirty"))
    yield "reset will zero what a host may write at address 0", z3.Implies(
        z3.And(z3.ULT(c.any, n), z3.ULT(n, 2**32), z3.Not(is_foreign(c.before, c.any))), is_used(c.after, c.any)
    )


def alloc_fresh(c):
    (n,) = c.arguments
    b, a, handle = c.before, c.after, c.result
    yield "hands out fresh space first, right behind the last block", handle == b.frontier + HINT
    yield "all above the block is fresh", a.frontier == handle + rounded(n)
    yield "the block lies above all earlier ones, and below the records", z3.And(
        ordered(b.frontier, handle - HINT), ordered(handle, handle + n, a.frontier, a.frontier + GUARD, a.floor)
    )
    yield "takes a record", a.floor == b.floor - RECORD
    yield "which is the last block's", a.last == a.floor
    yield "takes no page, and changes no other register", z3.And(c.same_registers("common", "floor", "last"), a.pages == b.pages)
    last = z3.Or(b.last == 0, is_whole_record(b, b.last))  # a host may have made it lead elsewhere
    hint = z3.ULT(c.any - b.frontier, HINT)
    yield "changes no byte of the heap but the hint", z3.Implies(z3.And(last, is_heap(a, c.any), z3.Not(hint)), c.same_memory())
    yield "the hint leads to the new record", record_of(a.memory, handle) == a.floor
    yield "which says where the block is, and that it is live", unsigned(word(a.memory, a.floor)) == handle | LIVE
    yield "and how long", unsigned(word(a.memory, a.floor + 4)) == n
    yield "so that `length` believes it", z3.And(handle & 7 == 0, a.floor & 7 == 0, z3.ULT(handle - HINT - BASE, a.common), is_record(a, a.floor))
    yield "and the record lies above all of it", ordered(a.frontier, a.floor, a.peak)
    yield "reset will zero all that was written", z3.Implies(z3.And(last, z3.Not(c.same_memory())), is_used(a, c.any))


def alloc(c):
    (n,) = c.arguments
    handle, a = c.result, c.after
    yield "answers 0 or a block that lies in the memory", z3.Implies(
        handle != 0, z3.And(ordered(BASE + HINT, handle, handle + n, a.size), handle & 7 == 0)
    )


def error_set(c):
    """Where no free was put off."""
    yield "changes nothing but its register", z3.And(c.same_registers("error"), c.same_memory())


def error_setter(c):
    (handle,) = c.arguments
    taken = z3.Or(handle == 0, is_heap(c.before, handle))
    yield "takes 0 and offsets of the heap, and ignores all else", c.after.error == z3.If(taken, handle, c.before.error)


def nothing_put_off(before, *_):
    return before.put_off == 0


def one_put_off(before, *_):
    """Whether one free was put off, in the second place, and none of those that wait will be merged."""
    return z3.And(before.put_off != 0, z3.LShR(before.put_off, 32) == 0, z3.UGE(before.patience, 2))


def first_put_off(before, *_):
    """The same in the first place."""
    return z3.And(before.put_off != 0, before.put_off & 0xFFFFFFFF == 0, z3.UGE(before.patience, 2))


def released(c, shift=0):
    """A free that was put off is made up for when another output or error is set: of that block, and of no other."""
    b, a = c.before, c.after
    handle = z3.LShR(b.put_off, shift) & 0xFFFFFFFF
    changed = z3.Not(c.same_registers())
    still = is_pinned(a, handle)
    freed = z3.And(changed, b.live(handle), z3.Not(still))
    yield "while it is still output or error, it stays", z3.Implies(z3.And(changed, still), c.same_memory())
    yield "where nothing was set, nothing happens", z3.Implies(z3.Not(changed), c.same_memory())
    yield "then none is put off", z3.Implies(freed, a.put_off == 0)
    yield from block_freed(c, freed, handle)


def reset(c):
    b, a = c.before, c.after
    zero = byte(a.memory, c.any) == 0
    for name, part in used(b, c.any).items():
        yield f"zeroes what was used: {name}", z3.Implies(part, zero)
    yield "changes no byte to anything else than 0", z3.Or(c.same_memory(), zero)
    yield "changes no byte of somebody else", z3.Implies(is_foreign(b, c.any), c.same_memory())
    kept = ("owned", "growing", "gap_start", "gap_end", "floor", "peak", "front")
    new = {name: value for name, (_, value) in REGISTERS.items() if name not in kept}
    yield "makes the registers as new, but for what the kernel owns and where its records start", c.became(
        **new, floor=a.top, peak=a.peak, growing=b.growing
    )
    yield "the records start where they ended, or as far in front of the gap as a margin and less than a record", z3.Or(
        a.peak == b.peak,
        z3.And(b.has_gap(), ordered(a.top + MARGIN, b.gap_start), z3.ULT(b.gap_start - MARGIN - a.top, 2 * RECORD)),
    )
    yield "then nothing is used", z3.Not(is_used(a, c.any))


INPUT, OUTPUT = ("input_offset", "input_length"), ("output_offset", "output_length")


def both(*parts):
    def statements(c):
        for part in parts:
            yield from part(c)

    return statements


# Of each export: what is said of every call.
STATEMENTS = {
    "alloc": alloc,
    "free": lambda c: (),
    "length": length,
    "length_unsafe": length,
    "load_u8": lambda c: load(c, 1),
    "load_u64": lambda c: load(c, 8),
    "store_u8": lambda c: store(c, 1),
    "store_u64": lambda c: store(c, 8),
    "memory_bytes": lambda c: getter(c, "owned"),
    "input_set": both(lambda c: range_setter(c, *INPUT), lambda c: setter(c, *INPUT)),
    "input_offset": lambda c: getter(c, "input_offset"),
    "input_length": lambda c: getter(c, "input_length"),
    "input_load_u8": lambda c: input_load(c, 1),
    "input_load_u64": lambda c: input_load(c, 8),
    "output_set": lambda c: range_setter(c, *OUTPUT),
    "output_offset": lambda c: getter(c, "output_offset"),
    "output_length": lambda c: getter(c, "output_length"),
    "error_set": error_setter,
    "error_get": lambda c: getter(c, "error"),
    "reset": reset,
}

# What is said of calls under a condition, which leads around all loops.
CASES = {
    "alloc": [(is_impossible, alloc_impossible), (is_fresh, alloc_fresh)],
    "free": [(is_patient, free)],
    # Of the first place with one of the two only: what comes then is the same function.
    "output_set": [
        (nothing_put_off, both(lambda c: range_setter(c, *OUTPUT), lambda c: setter(c, *OUTPUT))),
        (one_put_off, released),
        (first_put_off, lambda c: released(c, 32)),
    ],
    "error_set": [(nothing_put_off, both(error_setter, error_set)), (one_put_off, released)],
}

# The conditions under which the invariant is asked for as well: where a free is made up for it takes too long.
WITH_INVARIANT = is_impossible, is_fresh, is_patient, nothing_put_off
