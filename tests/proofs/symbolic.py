"""Executes a module's functions on bit vectors: all arguments, registers and memories at once.

Branches are not followed one by one: where they meet, their states are merged, each value being an if-then-else over the conditions. What
can go wrong on the way (traps), and every access to the memory, is noted with the condition under which it happens.
"""

from dataclasses import dataclass, field

import z3

from wasm import I32, I64, MEMORY, Unsupported

BITS = {I32: 32, I64: 64}
TRUE = z3.BoolVal(True)
PAGE = 65536
MOST_PAGES = 65536


def bits(value, width):
    return z3.BitVecVal(value, width)


def unsigned(value, width=64):
    """The value in that many bits, zeros in front."""
    return z3.ZeroExt(width - value.size(), value) if value.size() < width else value


def conjunction(conditions):
    conditions = [one for one in conditions if not z3.is_true(one)]
    return TRUE if not conditions else conditions[0] if len(conditions) == 1 else z3.And(conditions)


def literal(condition):
    """True or False where the condition is one whatever the variables, else None."""
    simple = z3.simplify(condition)
    return True if z3.is_true(simple) else False if z3.is_false(simple) else None


def folded(value):
    """The value, as a number if it is made of numbers."""
    return z3.simplify(value) if all(z3.is_bv_value(child) for child in value.children()) else value


def low(value):
    """The low 32 bits, an address."""
    return folded(z3.Extract(31, 0, value))


def rotated(value, by):
    """To the left; what is shifted by all bits is 0."""
    by &= value.size() - 1
    return (value << by) | z3.LShR(value, value.size() - by)


def flag(condition):
    return z3.If(condition, bits(1, 32), bits(0, 32))


def is_flag(value):
    if not z3.is_app_of(value, z3.Z3_OP_ITE):
        return False
    _, yes, no = value.children()
    return z3.is_bv_value(yes) and z3.is_bv_value(no) and (yes.as_long(), no.as_long()) == (1, 0)


def nonzero(value):
    """Whether a number is not 0: the condition inside, if the number is a `flag`."""
    return value.arg(0) if is_flag(value) else value != 0


def parts_of_value(term):
    """What the value of a term is made of: all but the condition of an if-then-else."""
    return term.children()[1:] if z3.is_app_of(term, z3.Z3_OP_ITE) else term.children()


def is_table(term):
    """Whether a term is a number, or one of several."""
    return z3.is_bv_value(term) or z3.is_app_of(term, z3.Z3_OP_ITE) and all(is_table(one) for one in parts_of_value(term))


def first_condition(term):
    """That of the outermost if-then-else in a value, where ways have met; None if there is none."""
    if is_table(term):
        return None
    if z3.is_app_of(term, z3.Z3_OP_ITE):
        return term.arg(0)
    return next((found for found in map(first_condition, term.children()) if found is not None), None)


def on_way(term, condition, holds):
    """The value of a term where the condition holds, or where it doesn't."""
    if z3.is_app_of(term, z3.Z3_OP_ITE) and term.arg(0).eq(condition):
        return on_way(term.arg(1 if holds else 2), condition, holds)
    old = parts_of_value(term)
    new = [on_way(one, condition, holds) for one in old]
    if all(one is other or one.eq(other) for one, other in zip(old, new)):
        return term
    return z3.If(term.arg(0), *new) if z3.is_app_of(term, z3.Z3_OP_ITE) else term.decl()(*new)


@dataclass
class State:
    """What one place of the code is reached with."""

    condition: tuple  # conjuncts: under these the place is reached
    locals: list
    globals: list
    memory: object  # an array of bytes, or only the byte that is watched
    pages: object  # BitVec 64
    stack: list

    def copy(self):
        return State(self.condition, list(self.locals), list(self.globals), self.memory, self.pages, list(self.stack))

    def under(self, condition):
        """The same state if the condition holds as well; None if it can't."""
        value = literal(condition)
        if value is False:
            return None
        other = self.copy()
        if value is None:
            other.condition += (condition,)
        return other

    @property
    def reached(self):
        return conjunction(self.condition)


def merged(states):
    """One state for several that exclude each other."""
    states = [state for state in states if state is not None]
    if not states:
        return None
    whole = states[0]
    for state in states[1:]:
        whole = _merged(whole, state)
    return whole


def _merged(a, b):
    common = 0
    for one, other in zip(a.condition, b.condition):
        if not one.eq(other):
            break
        common += 1
    left, right = conjunction(a.condition[common:]), conjunction(b.condition[common:])

    def either(one, other):
        return one if one is other or one.eq(other) else z3.If(left, one, other)

    condition = a.condition[:common]
    if literal(z3.Or(left, right)) is not True:
        condition += (z3.Or(left, right),)
    return State(
        condition,
        [either(*pair) for pair in zip(a.locals, b.locals)],
        [either(*pair) for pair in zip(a.globals, b.globals)],
        either(a.memory, b.memory),
        either(a.pages, b.pages),
        [either(*pair) for pair in zip(a.stack, b.stack)],
    )


@dataclass
class Note:
    """Something that happens at one place of the code, under a condition, with the registers of that moment."""

    kind: str  # "trap", "load", "store", "fill", "copy", "grow" or "write" (a register's new value stands)
    place: int  # offset of the instruction in the file
    condition: object
    facts: int  # how many facts were known
    globals: list
    pages: object
    claim: object = None  # trap: what must hold, or it happens
    address: object = None  # 64 bits
    width: object = None  # bytes, 64 bits
    memory: object = None


@dataclass
class Store:
    """What was stored last."""

    memory: object  # after it
    address: object
    value: object


@dataclass
class Run:
    """One execution of functions, with everything that was noted."""

    module: object
    notes: list = field(default_factory=list)
    facts: list = field(default_factory=list)  # (tag, condition): what may be assumed; a tag names what it stands and falls with
    fresh_names: int = 0
    multiples: list = field(default_factory=list)  # numbers that are known to be multiples of another: (that, number)
    places: set = field(default_factory=set)  # of all instructions that were executed
    cuts: object = None  # how loops are cut and which functions are summed up; None: nothing is
    turns: int = 0  # how many turns of a loop are followed where it isn't cut
    feasible: object = None  # asks whether a state can be reached, wherever the code branches
    unwound: object = None  # is told the state in which a loop is come by that isn't followed on
    simplifying: bool = False  # whether what is loaded is simplified at once: for a memory of which much is known
    watched: object = None  # address of the one byte that is kept of the memory (64 bits); None: all are
    written: dict = field(default_factory=dict)  # where one byte is kept: the memories after a write, by their ids
    loaded: dict = field(default_factory=dict)  # where one byte is kept: what was loaded, by the memory, the address and the width
    stored: dict = field(default_factory=dict)  # where one byte is kept: what was stored last, by the memory after it

    def fresh(self, what, width):
        self.fresh_names += 1
        return z3.BitVec(f"{what}.{self.fresh_names}", width)

    def fresh_memory(self):
        if self.watched is not None:
            return self.fresh("memory", 8)
        self.fresh_names += 1
        return z3.Array(f"memory.{self.fresh_names}", z3.BitVecSort(32), z3.BitVecSort(8))

    def fact(self, condition, tag=None):
        self.facts.append((tag, condition))

    # ---- functions

    def invoke(self, function, arguments, state):
        """Calls a function: the state after it, with the results on its stack, or None if it never returns."""
        if self.cuts and self.cuts.is_summed_up(function):
            return self.cuts.call(self, function, arguments, state)
        return self.inline(function, arguments, state)

    def inline(self, function, arguments, state):
        result = merged(self.ends(function, arguments, state))
        if result is not None:
            result.locals = list(state.locals)
            result.stack = list(state.stack) + result.stack
        return result

    def ends(self, function, arguments, state):
        """The states in which a function returns, with nothing but its results on the stack: of each way there one of its own."""
        inner = state.copy()
        inner.locals = list(arguments) + [bits(0, BITS[kind]) for kind in function.locals]
        inner.stack = []
        results = len(function.results)
        label = (results, [])
        end = self.sequence(function.body, inner, [label], function)
        states = ([end] if end is not None else []) + label[1]
        for state in states:
            state.stack = state.stack[len(state.stack) - results :]
        return states

    def under(self, state, condition):
        """The same state if the condition holds as well; None if it can't."""
        other = state.under(condition)
        if other is not None and self.feasible and other.condition != state.condition and not self.feasible(self, other):
            return None
        return other

    # ---- blocks

    def block(self, body, results, state, labels, function):
        """Runs a block to its end. `labels` are those around it, the innermost last."""
        label, height = (results, []), len(state.stack)
        end = self.sequence(body, state, labels + [label], function)
        return self.join(label, end, height)

    @staticmethod
    def join(label, end, height):
        results, exits = label
        states = ([end] if end is not None else []) + exits
        for state in states:
            carried = state.stack[len(state.stack) - results :]
            assert len(state.stack) >= height + results, "a label's results are missing"
            state.stack = state.stack[:height] + carried
        return merged(states)

    def branch(self, state, labels, index):
        results, exits = labels[-1 - index]
        if callable(exits):
            exits(state)
        else:
            exits.append(state)

    def sequence(self, body, state, labels, function):
        for one in body:
            if state is None:
                return None
            state = self.step(one, state, labels, function)
        return state

    def loop(self, one, state, labels, function):
        if self.cuts:
            return self.cuts.loop(self, one, state, labels, function)
        ends, height = [], len(state.stack)
        for turn in range(self.turns + 1):
            if state is None:
                return merged(ends)
            if turn == self.turns:
                if self.unwound:
                    self.unwound(self, state)
                self.note("trap", one.at, state, claim=z3.BoolVal(False), kind_of="unwound")
                return merged(ends)
            again = (0, [])
            end = self.sequence(one.body, state, labels + [again], function)
            if end is not None:
                ends.append(end)
            state = self.join(again, None, height)
        return merged(ends)

    # ---- notes

    def note(self, kind, place, state, kind_of=None, **details):
        self.notes.append(Note(kind_of or kind, place, state.reached, len(self.facts), list(state.globals), state.pages, **details))

    def access(self, kind, place, state, address, width):
        """Notes an access, and that it must lie in the memory."""
        size = state.pages << 16
        width = bits(width, 64) if isinstance(width, int) else width
        self.note("trap", place, state, claim=z3.And(z3.ULE(address, size), z3.ULE(width, size - address)), address=address, width=width)
        self.note(kind, place, state, address=address, width=width, memory=state.memory)

    def load(self, memory, address, width):
        """What lies there, little endian. Of a memory with one byte: what was stored last, if it was there; else anything, but the same each
        time while nothing is written. As that byte may be any, two memories with the same term for it are the same."""
        if self.watched is not None:
            return self.anything(memory, address, width)
        parts = [z3.Select(memory, low(folded(address + i))) for i in reversed(range(width))]
        value = parts[0] if width == 1 else z3.Concat(parts)
        return z3.simplify(value) if self.simplifying else value

    def wrote(self, memory):
        self.written[memory.get_id()] = memory
        return memory

    def anything(self, memory, address, width):
        simple = z3.simplify(address)
        key = memory.get_id(), simple.get_id(), width
        if key not in self.loaded:
            # Where ways have met, what was loaded on each of them is loaded again.
            joined = z3.is_app_of(memory, z3.Z3_OP_ITE) and memory.get_id() not in self.written
            condition = memory.arg(0) if joined else first_condition(address)
            store = self.stored.get(memory.get_id())
            if store and store.address.eq(simple) and store.value.size() >= 8 * width:
                value = z3.Extract(8 * width - 1, 0, store.value)
            elif condition is None:
                value = self.fresh("loaded", 8 * width)
            else:
                yes, no = memory.children()[1:] if joined else (memory, memory)
                value = z3.If(
                    condition,
                    self.anything(yes, on_way(address, condition, True), width),
                    self.anything(no, on_way(address, condition, False), width),
                )
            self.loaded[key] = value, memory, simple  # these two are kept, or their ids might be given to others
        return self.loaded[key][0]

    def store(self, memory, address, width, value):
        for i in range(width):
            byte = z3.Extract(8 * i + 7, 8 * i, value)
            if self.watched is not None:
                memory = self.wrote(z3.If(self.watched == address + i, byte, memory))
            else:
                memory = z3.Store(memory, low(folded(address + i)), byte)
        if self.watched is not None:
            self.stored[memory.get_id()] = Store(memory, z3.simplify(address), z3.Extract(8 * width - 1, 0, value))
        return memory

    def filled(self, memory, address, count, value):
        if self.watched is not None:
            return self.wrote(z3.If(z3.ULT(self.watched - address, count), value, memory))
        at = z3.BitVec("at", 32)
        return z3.Lambda([at], z3.If(z3.ULT(unsigned(at) - address, count), value, z3.Select(memory, at)))

    # ---- instructions

    def step(self, one, state, labels, function):
        name, stack = one.name, state.stack
        self.places.add(one.at)
        kind, _, operation = name.partition(".")
        if name == "local.get":
            stack.append(state.locals[one.index])
        elif name == "local.set":
            state.locals[one.index] = stack.pop()
        elif name == "local.tee":
            state.locals[one.index] = stack[-1]
        elif name == "global.get":
            stack.append(state.globals[one.index])
        elif name == "global.set":
            state.globals[one.index] = stack.pop()
            self.note("write", one.at, state)
        elif operation == "const":
            stack.append(bits(one.value, 32 if kind == "i32" else 64))
        elif one.opcode in MEMORY:
            self.memory_access(one, state)
        elif name == "block":
            return self.block(one.body, len(one.results), state, labels, function)
        elif name == "loop":
            return self.loop(one, state, labels, function)
        elif name == "if":
            condition = nonzero(stack.pop())
            yes, no = self.under(state, condition), self.under(state, z3.Not(condition))
            label = (len(one.results), [])
            ends = [
                self.sequence(body, branch, labels + [label], function)
                for body, branch in ((one.body, yes), (one.orelse, no))
                if branch is not None
            ]
            label[1].extend(end for end in ends if end is not None)
            return self.join(label, None, len(stack))
        elif name == "br":
            self.branch(state, labels, one.index)
            return None
        elif name == "br_if":
            condition = nonzero(stack.pop())
            taken = self.under(state, condition)
            if taken is not None:
                self.branch(taken, labels, one.index)
            return self.under(state, z3.Not(condition))
        elif name == "br_table":
            index = stack.pop()
            for i, label in enumerate(one.labels):
                last = i == len(one.labels) - 1
                taken = self.under(state, z3.UGE(index, i) if last else index == i)
                if taken is not None:
                    self.branch(taken, labels, label)
            return None
        elif name == "return":
            self.branch(state, labels, len(labels) - 1)
            return None
        elif name == "unreachable":
            self.note("trap", one.at, state, claim=z3.BoolVal(False))
            return None
        elif name == "call":
            callee = self.module.functions[one.index]
            count = len(callee.parameters)
            arguments = [stack.pop() for _ in range(count)][::-1]
            return self.invoke(callee, arguments, state)
        elif name == "drop":
            stack.pop()
        elif name == "select":
            condition, no, yes = nonzero(stack.pop()), stack.pop(), stack.pop()
            value = literal(condition)
            stack.append(z3.If(condition, yes, no) if value is None else yes if value else no)
        elif name == "nop":
            pass
        elif name == "memory.size":
            stack.append(z3.Extract(31, 0, state.pages))
        elif name == "memory.grow":
            self.grow(one, state)
        elif name == "memory.fill":
            count, value, address = (stack.pop() for _ in range(3))
            address, count = unsigned(address), unsigned(count)
            self.access("fill", one.at, state, address, count)
            state.memory = self.filled(state.memory, address, count, z3.Extract(7, 0, value))
        elif name == "memory.copy":
            count, source, target = (unsigned(stack.pop()) for _ in range(3))
            self.access("load", one.at, state, source, count)
            self.access("store", one.at, state, target, count)
            state.memory = self.fresh_memory()
        else:
            self.compute(one, state, kind, operation)
        return state

    def memory_access(self, one, state):
        name, kind, width, signed = MEMORY[one.opcode]
        value = state.stack.pop() if "store" in name else None
        address = folded(unsigned(state.stack.pop()))
        if one.index:
            address = folded(address + one.index)
        if value is not None:
            self.access("store", one.at, state, address, width)
            state.memory = self.store(state.memory, address, width, value)
            return
        self.access("load", one.at, state, address, width)
        value = self.load(state.memory, address, width)
        more = BITS[kind] - 8 * width
        state.stack.append(value if not more else z3.SignExt(more, value) if signed else z3.ZeroExt(more, value))

    def grow(self, one, state):
        """The host decides: either nothing changes, or the pages are there, and zero."""
        count = unsigned(state.stack.pop())
        self.note("grow", one.at, state, width=count)
        granted = z3.And(self.fresh("granted", 1) == 1, z3.ULE(state.pages + count, MOST_PAGES))
        state.stack.append(z3.If(granted, z3.Extract(31, 0, state.pages), bits(-1, 32)))
        state.pages = z3.If(granted, state.pages + count, state.pages)
        self.note("write", one.at, state)

    COMPARE = {
        "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
        "lt_s": lambda a, b: a < b, "lt_u": z3.ULT, "gt_s": lambda a, b: a > b, "gt_u": z3.UGT,
        "le_s": lambda a, b: a <= b, "le_u": z3.ULE, "ge_s": lambda a, b: a >= b, "ge_u": z3.UGE,
    }  # fmt: skip
    COMPUTE = {
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
        "and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b,
        "shl": lambda a, b: a << folded(b & (a.size() - 1)), "shr_u": lambda a, b: z3.LShR(a, folded(b & (a.size() - 1))),
        "shr_s": lambda a, b: a >> folded(b & (a.size() - 1)),
        "rotl": lambda a, b: rotated(a, b), "rotr": lambda a, b: rotated(a, -b),
    }  # fmt: skip
    DIVIDE = {"div_u": z3.UDiv, "rem_u": z3.URem, "div_s": lambda a, b: a / b, "rem_s": z3.SRem}
    EXTEND = {
        "wrap_i64": lambda a: z3.Extract(31, 0, a), "extend_i32_u": lambda a: z3.ZeroExt(32, a),
        "extend_i32_s": lambda a: z3.SignExt(32, a),
        "extend8_s": lambda a: z3.SignExt(a.size() - 8, z3.Extract(7, 0, a)),
        "extend16_s": lambda a: z3.SignExt(a.size() - 16, z3.Extract(15, 0, a)),
        "extend32_s": lambda a: z3.SignExt(a.size() - 32, z3.Extract(31, 0, a)),
    }  # fmt: skip

    def compute(self, one, state, kind, operation):
        stack = state.stack
        if operation == "eqz":
            value = stack.pop()
            result = flag(z3.Not(nonzero(value)))
        elif operation in self.EXTEND:
            result = self.EXTEND[operation](stack.pop())
        elif operation in ("clz", "ctz", "popcnt"):
            result = self.count_bits(operation, stack.pop())
        else:
            b, a = stack.pop(), stack.pop()
            if operation in self.COMPARE:
                result = flag(self.COMPARE[operation](a, b))
            elif operation in self.COMPUTE:
                if operation in ("and", "or") and is_flag(a) and is_flag(b):
                    join = z3.And if operation == "and" else z3.Or
                    result = flag(join(nonzero(a), nonzero(b)))
                else:
                    result = self.multiply(a, b) if operation == "mul" else self.COMPUTE[operation](a, b)
            elif operation in self.DIVIDE:
                self.note("trap", one.at, state, claim=b != 0)
                if operation == "div_s":
                    lowest = 1 << (a.size() - 1)
                    self.note("trap", one.at, state, claim=z3.Or(a != lowest, b != -1))
                result = self.divide(operation, a, b)
            else:
                raise Unsupported(one.name)
        stack.append(folded(result) if not is_flag(result) else result)

    def divide(self, operation, a, b):
        """Of a remainder of a number it is said how large it is, and that without it a multiple is left: not which, as solvers find
        products hard. A statement that is proved so holds; one that isn't may."""
        if self.simplifying or not z3.is_bv_value(b) or operation != "rem_u" or not b.as_long() or a.size() < 32:
            return self.DIVIDE[operation](a, b)
        width, by = a.size(), b.as_long()
        rest = unsigned(self.fresh("rest", by.bit_length()), width)
        multiple = a - rest
        self.fact(z3.And(z3.ULT(rest, by), z3.ULE(rest, a), multiple & ((by & -by) - 1) == 0))
        for factor, other in self.multiples:
            if factor == by and width == 32:
                # `prove.py` proves it once: no other multiple lies between.
                self.fact(z3.Implies(z3.ULE(other, unsigned(a)), z3.ULE(other, unsigned(multiple))))
        self.multiples.append((by, unsigned(multiple)))
        return rest

    def multiply(self, a, b):
        """What the bins' keys are multiplied for leads to nothing that is proved: such a product may be anything."""
        numbers = [one.as_long() for one in (a, b) if z3.is_bv_value(one)]
        if self.simplifying or not numbers or numbers[0] < 1 << 16:
            return a * b
        return self.fresh("product", a.size())

    @staticmethod
    def count_bits(operation, value):
        width = value.size()
        if operation == "popcnt":
            return sum((z3.ZeroExt(width - 1, z3.Extract(i, i, value)) for i in range(width)), bits(0, width))
        result = bits(width, width)
        order = reversed(range(width)) if operation == "ctz" else range(width)
        for i in order:
            found = i if operation == "ctz" else width - 1 - i
            result = z3.If(z3.Extract(i, i, value) == 1, bits(found, width), result)
        return result

