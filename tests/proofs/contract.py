"""What the contract says of each export, as statements over one call of it, or two.

The words here (heap, input, live block) are written down apart from the way in which the code decides them. `Call` is one call in any state
that the invariant allows; a statement is a name, and a condition that must be true of the call.
"""

from dataclasses import dataclass

import z3

from invariant import BASE, GUARD, HINT, MARGIN, PARTS, RECORD, REGISTERS, RING, Registers, ordered
from symbolic import low, unsigned

LIVE, WAITING = 0, 1
LOWEST = 8  # the first byte that is ever zeroed
LINKS = 16  # the first byte of the low memory that leads to free blocks


# ---- words of the contract


def is_gap(r, a):
    """Whether the byte at `a` belongs to somebody else."""
    return z3.And(r.has_gap(), ordered(r.gap_start, a), z3.ULT(a, r.gap_end))


def is_heap(r, a):
    """Whether the byte at `a` lies in the heap: above the low memory, below the records, and in no gap."""
    return z3.And(ordered(BASE, a), z3.ULT(a, r.floor), z3.Not(is_gap(r, a)))


def is_used(r, a):
    """Whether `reset` has to zero the byte at `a`: the words that lead to free blocks, and if anything was used all the low memory, what was
    handed out or stored to, and the records."""
    anything = (r.span | r.dirty) != 0
    data = z3.And(ordered(LOWEST, a), z3.Or(z3.ULT(a, r.frontier + GUARD), z3.ULT(a, r.dirty)), z3.Not(is_gap(r, a)))
    records = z3.And(ordered(r.floor, a), z3.ULT(a, r.top))
    links = z3.And(ordered(LINKS, a), z3.ULT(a, BASE))
    return z3.Or(links, z3.And(anything, z3.Or(data, records)))


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
    """Whether a live block starts at `handle`: its hint leads to a record, and the record back to it."""
    record = record_of(memory, handle)
    return z3.And(
        ordered(HINT, handle),
        z3.ULT(handle, r.floor),
        handle & 7 == 0,
        record & 7 == 0,
        ordered(r.floor, record),
        z3.ULT(record, r.top),
        unsigned(word(memory, record)) == handle | LIVE,
    )


def length_of(r, memory, handle):
    """Its length: what the record says, if that many bytes can be there."""
    length = unsigned(word(memory, record_of(memory, handle) + 4))
    return z3.If(z3.And(is_live(r, memory, handle), ordered(length, r.top - handle)), length, 0)


# ---- where accesses may lie


def may_access(name, note, before, now, arguments):
    """Whether an export, or a function inside, may make this access."""
    a, end = note.address, note.address + note.width
    if name in ("load_u8", "load_u64", "store_u8", "store_u64"):
        count = note.width.as_long()
        return z3.And(a == arguments[0], is_heap(before, a), is_heap(before, a + (count - 1)))
    if name in ("input_load_u8", "input_load_u64"):
        return z3.And(a == before.input_offset + arguments[0], ordered(before.input_offset, a, end, before.input_offset + before.input_length))
    if note.kind == "fill":
        # Nothing of somebody else's.
        return z3.Or(note.width == 0, z3.And(ordered(a, end, now.size), z3.Or(z3.Not(now.has_gap()), ordered(end, now.gap_start), ordered(now.gap_end, a))))
    records = z3.And(ordered(before.floor, a + 2 * RECORD), ordered(a, end, now.top + MARGIN))  # two may be new
    in_low_memory = ordered(a, end, BASE + RECORD)
    hint = z3.And(ordered(a, before.floor), note.width == 4)
    ends = [ordered(register, a, end, register + RECORD) for register in (before.last, before.tail)]
    return z3.Or(records, in_low_memory, hint, *ends)


# ---- calls


@dataclass
class Moment:
    """Registers and memory at one time."""

    registers: Registers
    memory: object

    def __getattr__(self, name):
        return getattr(self.registers, name)

    def length(self, handle):
        return length_of(self.registers, self.memory, handle)

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
    a, count = c.arguments
    some = z3.BitVec("some", 64)  # any byte of the range
    set = z3.And(getattr(c.after, offset) == a, getattr(c.after, length) == count)
    changed = z3.Not(c.same_registers())
    yield "changes nothing but its two registers", z3.And(c.same_registers(offset, length), c.same_memory())
    yield "sets both or none", z3.Or(set, z3.Not(changed))
    yield "takes no range with a byte outside of the heap", z3.Implies(
        z3.And(changed, z3.ULT(some, count)), is_heap(c.before, a + some)
    )
    yield "takes no empty range outside of the heap", z3.Implies(changed, is_heap(c.before, a))
    # Were a range refused that lies in the heap, one of these bytes of it, too, would lie in the heap.
    ends = [0, count - 1, c.before.gap_start - a, c.before.floor - a]
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
    yield "answers what the record of the live block says, and 0 for all else", c.result == c.before.length(handle)
    n = c.result
    yield "answers no range that isn't in the memory", z3.Implies(
        n != 0, z3.And(ordered(HINT, handle, handle + n, c.before.size), handle & 7 == 0)
    )
    yield "changes nothing", c.nothing_changed()


def free(c):
    (handle,) = c.arguments
    b = c.before
    live = b.live(handle)
    pinned = z3.Or(handle == b.output_offset, handle == b.error)
    freed = z3.And(live, z3.Not(pinned))
    yield "does nothing for what isn't live, nor for output and error", z3.Implies(z3.Not(freed), c.nothing_changed())
    record = record_of(b.memory, handle)
    other = z3.BitVec("other", 64)
    tail = z3.Or(b.tail == RING, z3.And(ordered(b.floor, b.tail), z3.ULT(b.tail, b.top)))
    yield "empties the input if that is freed, and changes no register of the contract else", z3.And(
        z3.Implies(freed, c.after.input_length == z3.If(handle == b.input_offset, 0, b.input_length)),
        c.same_registers("input_length", "tail"),
    )
    yield "leaves every byte of the heap", z3.Implies(z3.And(tail, is_heap(b, c.any)), c.same_memory())
    apart = z3.And(record != b.tail, b.tail & 7 == 0, z3.Or(record + RECORD == b.tail, ordered(record + RECORD, b.tail), ordered(b.tail + RECORD, record)))
    yield "the block isn't live any more", z3.Implies(z3.And(freed, tail, apart), c.after.length(handle) == 0)


def rounded(n):
    return (n + 7) & ~z3.BitVecVal(7, 64)


def is_impossible(before, n):
    return z3.Or(n == 0, z3.UGT(n, 2**32 - HINT))


def is_fresh(before, n):
    """Whether there is room above the last block: for hint, data and guard, a record, and 32 records to split free blocks later."""
    room = before.frontier + HINT + rounded(n) + GUARD + 33 * RECORD
    return z3.And(z3.Not(is_impossible(before, n)), ordered(room, before.floor))


def alloc_impossible(c):
    yield "answers 0 for impossible sizes", c.result == 0
    yield "and changes nothing", c.nothing_changed()


def alloc_fresh(c):
    (n,) = c.arguments
    b, a, handle = c.before, c.after, c.result
    yield "hands out fresh space first, right behind the last block", handle == b.frontier + HINT
    yield "all above the block is fresh", a.frontier == handle + rounded(n)
    yield "the block lies above all earlier ones, and below the records", z3.And(
        ordered(b.frontier, handle - HINT), ordered(handle, handle + n, a.frontier, a.frontier + GUARD, a.floor)
    )
    yield "takes a record", a.floor == b.floor - RECORD
    yield "takes no page, and changes no other register", z3.And(c.same_registers("span", "floor", "last"), a.pages == b.pages)
    last = z3.Or(b.last == 0, ordered(b.floor, b.last, b.last + RECORD, b.top))  # a host may have made it lead elsewhere
    hint = z3.ULT(c.any - b.frontier, HINT)
    yield "changes no byte of the heap but the hint", z3.Implies(z3.And(last, is_heap(a, c.any), z3.Not(hint)), c.same_memory())
    yield "the hint leads to the new record", record_of(a.memory, handle) == a.floor
    yield "which says where the block is, and that it is live", unsigned(word(a.memory, a.floor)) == handle | LIVE
    yield "and how long", unsigned(word(a.memory, a.floor + 4)) == n
    yield "so that `length` believes it", z3.And(handle & 7 == 0, a.floor & 7 == 0, ordered(HINT, handle, a.floor), z3.ULT(a.floor, a.top), ordered(n, a.top - handle))
    yield "reset will zero all that was written", z3.Implies(z3.And(last, z3.Not(c.same_memory())), is_used(a, c.any))


def alloc(c):
    (n,) = c.arguments
    handle, a = c.result, c.after
    yield "answers 0 or a block that lies in the memory", z3.Implies(
        handle != 0, z3.And(ordered(BASE + HINT, handle, handle + n, a.size), handle & 7 == 0)
    )


def error_set(c):
    (handle,) = c.arguments
    taken = z3.Or(handle == 0, is_heap(c.before, handle))
    yield "takes 0 and offsets of the heap, and ignores all else", z3.If(taken, c.became(error=handle), c.same_registers())
    yield "changes no byte", c.same_memory()


def reset(c):
    b, a = c.before, c.after
    first = z3.If(b.has_gap(), z3.If(ordered(b.top, b.gap_start), b.top, b.gap_start), b.top)
    yield "zeroes all that was used", z3.Implies(is_used(b, c.any), byte(a.memory, c.any) == 0)
    yield "changes no byte to anything else than 0, and none of the gap", z3.Or(
        c.same_memory(), z3.And(byte(a.memory, c.any) == 0, z3.Not(is_gap(b, c.any)))
    )
    new = {name: value for name, (_, value) in REGISTERS.items() if name not in ("owned", "gap_start", "gap_end", "floor", "top")}
    yield "makes the registers as new, but for what the kernel owns and where its records start", c.became(
        **new, floor=first, top=first
    )
    yield "then nothing is used", z3.Implies(is_used(a, c.any), z3.ULT(c.any, BASE))


# Of each export: what is said of every call.
STATEMENTS = {
    "alloc": alloc,
    "free": free,
    "length": length,
    "length_unsafe": length,
    "load_u8": lambda c: load(c, 1),
    "load_u64": lambda c: load(c, 8),
    "store_u8": lambda c: store(c, 1),
    "store_u64": lambda c: store(c, 8),
    "memory_bytes": lambda c: getter(c, "owned"),
    "input_set": lambda c: setter(c, "input_offset", "input_length"),
    "input_offset": lambda c: getter(c, "input_offset"),
    "input_length": lambda c: getter(c, "input_length"),
    "input_load_u8": lambda c: input_load(c, 1),
    "input_load_u64": lambda c: input_load(c, 8),
    "output_set": lambda c: setter(c, "output_offset", "output_length"),
    "output_offset": lambda c: getter(c, "output_offset"),
    "output_length": lambda c: getter(c, "output_length"),
    "error_set": error_set,
    "error_get": lambda c: getter(c, "error"),
    "reset": reset,
}

# What is said of calls under a condition, which leads around all loops.
CASES = {"alloc": [(is_impossible, alloc_impossible), (is_fresh, alloc_fresh)]}
