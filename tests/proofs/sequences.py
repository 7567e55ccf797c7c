"""Sequences of calls of a new instance, with arguments left open: they need no invariant and no register, so they are asked of any kernel.

Loops are followed for as many turns as such a call can take. A sequence is a list of calls and what must be true after them.
"""

import time
from dataclasses import dataclass

import z3

from solver import UNKNOWN, UNSAT
from symbolic import BITS, Run, State, bits, unsigned

TURNS = 40
SECONDS = 20  # of CPU for one sequence


class TooLong(Exception):
    """A sequence takes more than its time."""


@dataclass
class Instance:
    """A new instance, on which exports are called one after the other."""

    module: object
    answers: object

    def __post_init__(self):
        self.end = time.process_time() + SECONDS
        self.run = Run(self.module, turns=TURNS, feasible=lambda run, state: self.feasible(state), simplifying=True)
        memory = z3.K(z3.BitVecSort(32), bits(0, 8))
        for address, data in self.module.data:
            for i, value in enumerate(data):
                memory = z3.Store(memory, bits(address + i, 32), bits(value, 8))
        # An externref is a number of its own here: nobody looks at it.
        values = [bits(one.start or 0, BITS.get(one.type, 32)) for one in self.module.globals]
        self.state = State((), [], values, memory, bits(self.module.pages, 64), [])

    def feasible(self, state):
        if time.process_time() > self.end:
            raise TooLong
        return self.answers.ask([fact for _, fact in self.run.facts] + [state.reached], "a branch")[0] != UNSAT

    def suppose(self, condition):
        self.run.fact(condition)

    def call(self, name, *arguments):
        """The export's answer, if it has one; of calls that never return nothing follows."""
        function = self.module.function(name)
        numbers = [bits(one, BITS[kind]) if isinstance(one, int) else one for one, kind in zip(arguments, function.parameters)]
        self.state.stack = []
        end = self.run.inline(function, numbers, self.state)
        if end is None:
            return bits(0, 64)
        result = unsigned(end.stack[-1]) if end.stack else None
        end.stack = []
        self.state = end
        return result

    @property
    def size(self):
        return self.state.pages << 16

    def traps(self):
        """Whether a call may have trapped."""
        return z3.Or([z3.BoolVal(False)] + [z3.And(note.condition, z3.Not(note.claim)) for note in self.run.notes if note.kind == "trap"])

    def unwound(self):
        """Whether a loop may have had more turns than were followed."""
        return z3.Or([z3.BoolVal(False)] + [note.condition for note in self.run.notes if note.kind == "unwound"])


def in_memory(instance, offset, length):
    return z3.And(z3.ULE(offset, instance.size), z3.ULE(length, instance.size - offset))


a, b, n, v = z3.BitVecs("a b n v", 64)


def one_page(i):
    return z3.BoolVal(i.module.pages == 1)


def alloc_of_any_size(i):
    handle = i.call("alloc", n)
    return z3.Or(handle == 0, in_memory(i, handle, n))


def two_allocs(i):
    i.suppose(z3.And(z3.ULE(a, 8192), z3.ULE(b, 8192)))
    first, second = i.call("alloc", a), i.call("alloc", b)
    apart = z3.Or(z3.ULE(first + a, second), z3.ULE(second + b, first))
    return z3.Or(first == 0, second == 0, z3.And(in_memory(i, first, a), in_memory(i, second, b), apart))


def load_anywhere(i):
    i.call("load_u64", a)
    return z3.BoolVal(True)


def store_anywhere(i):
    i.call("store_u64", a, v)
    i.call("store_u8", b, z3.Extract(31, 0, v))
    return z3.BoolVal(True)


def any_output(i):
    i.call("output_set", a, n)
    return in_memory(i, i.call("output_offset"), i.call("output_length"))


def any_input(i):
    i.call("input_set", a, n)
    return in_memory(i, i.call("input_offset"), i.call("input_length"))


def forged_length(i):
    handle = i.call("alloc", 8)
    i.call("store_u64", handle - 8, v)
    length = i.call("length", handle)
    return z3.Or(length == 0, length == 8)


def length_of_anything(i):
    i.call("alloc", 8)
    length = i.call("length", b)
    return z3.Or(length == 0, in_memory(i, b, length))


def lengths(i):
    i.suppose(z3.ULE(n, 4096))
    handle = i.call("alloc", n)
    return z3.And(i.call("length", handle) == n, i.call("length_unsafe", handle) == n)


def freed_error(i):
    handle = i.call("alloc", 8)
    i.call("error_set", handle)
    i.call("free", handle)
    return z3.And(i.call("error_get") == handle, i.call("length", handle) == 8)


def freed_output(i):
    handle = i.call("alloc", 8)
    i.call("output_set", handle, 8)
    i.call("free", handle)
    return i.call("length", handle) == 8


def freed_input(i):
    handle = i.call("alloc", 8)
    i.call("input_set", handle, 8)
    i.call("free", handle)
    return z3.And(i.call("input_length") == 0, i.call("length", handle) == 0)


def stale_free(i):
    i.suppose(z3.And(a != 0, b != 0, z3.ULE(a, 8192), z3.ULE(b, 8192)))
    key = i.call("alloc", a)
    i.call("free", key)
    value = i.call("alloc", b)
    i.call("free", key)
    return i.call("length", value) == b


def error_and_reset_first(i):
    i.call("error_set", 0)
    i.call("reset")
    return z3.And(i.call("output_length") == 0, i.call("error_get") == 0, i.call("alloc", 8) != 0)


def zeroed(i):
    i.suppose(z3.And(z3.ULE(1, n), z3.ULE(n, 64)))
    handle = i.call("alloc", n)
    i.call("store_u8", a, z3.Extract(31, 0, v))
    i.call("reset")
    return i.call("load_u8", a) == 0


SEQUENCES = {
    "a new instance has one page": one_page,
    "alloc(n) answers 0 or a block that lies in the memory": alloc_of_any_size,
    "the blocks of alloc(a) and alloc(b), for at most 8192, lie in the memory and don't overlap": two_allocs,
    "load_u64(a) doesn't trap": load_anywhere,
    "store_u64(a, v) and store_u8(b, v) don't trap": store_anywhere,
    "after output_set(a, n) the output lies in the memory": any_output,
    "after input_set(a, n) the input lies in the memory": any_input,
    "after h = alloc(8), store_u64(h - 8, v), length(h) is 8 or 0": forged_length,
    "after alloc(8), length(b) is a length that lies in the memory": length_of_anything,
    "after h = alloc(n) of at most 4096, both lengths of h are n": lengths,
    "after h = alloc(8), error_set(h), free(h) the error's text is there": freed_error,
    "after h = alloc(8), output_set(h, 8), free(h) the output is there": freed_output,
    "after h = alloc(8), input_set(h, 8), free(h) the input is empty, and h free": freed_input,
    "after k = alloc(a), free(k), h = alloc(b), free(k), for at most 8192, h is live": stale_free,
    "error_set(0) and reset() may come first": error_and_reset_first,
    "after alloc(n), store_u8(a, v), reset(), load_u8(a) is 0": zeroed,
}


def check(module, answers, report):
    """Asks all of them; how many are wrong or undecided."""
    wrong = 0
    for name, sequence in SEQUENCES.items():
        instance = Instance(module, answers)
        try:
            claim = sequence(instance)
        except TooLong:
            wrong += 1
            report(f"{name} (in {SECONDS} s)", UNKNOWN, None)
            continue
        facts = [fact for _, fact in instance.run.facts]
        failures = {f"{name}: no trap": instance.traps(), f"{name}: at most {TURNS} turns": instance.unwound(), name: z3.Not(claim)}
        for what, failure in failures.items():
            verdict, values = answers.ask(facts + [failure], what)
            if verdict != UNSAT:
                wrong += 1
                report(what, verdict, values)
                break
    return wrong
