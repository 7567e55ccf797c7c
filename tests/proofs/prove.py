"""Proves the contract on kernel files: `prove.py FILE...`. See README.md."""

import argparse
import hashlib
import sys
import time

import z3

import contract
import invariant
import sequences
import wasm
from cuts import Cuts
from invariant import PARTS, RECORD, REGISTERS, SLOTS, Registers
from solver import SAT, UNKNOWN, UNSAT, Answers
from symbolic import BITS, Run, State


class Refuted(Exception):
    """A statement that isn't so, where no other is of interest."""


class Kernel:
    """A kernel file; `known` says whether its registers are those of the invariant."""

    def __init__(self, data):
        self.module = wasm.read(data)
        # The one reference, the host's context, is the last, and no code names it.
        numbers = [one for one in self.module.globals if one.start is not None]
        self.known = [(one.type, one.start) for one in numbers] == list(REGISTERS.values()) and all(one.mutable for one in numbers)
        if self.known and numbers == self.module.globals[: len(numbers)]:
            self.module.globals = numbers
        else:
            self.known = False

    def substance(self):
        """What decides how it runs: files that have it in common are proved once."""
        functions = [(f.parameters, f.results, f.locals, [self.module.bytes[i.at : i.end] for i in f.flat]) for f in self.module.functions]
        exports = {name: index for name, (kind, index) in self.module.exports.items() if kind == 0}
        return hashlib.sha256(repr((functions, sorted(exports.items()), self.module.pages, self.module.data)).encode()).hexdigest()


    def code(self, function):
        """All that decides how a function runs: its code, and that of those it calls."""
        parts = [self.code(self.module.functions[i.index]) if i.name == "call" else self.module.bytes[i.at : i.end] for i in function.flat]
        return hashlib.sha256(repr((function.parameters, function.results, function.locals, parts)).encode()).hexdigest()


class Proof:
    def __init__(self, kernel, answers, first_only=False, report=None, asking=True, proved=None, only=None):
        self.proved = {} if proved is None else proved  # exports by their code, of files before
        self.kernel, self.module, self.answers = kernel, kernel.module, answers
        self.first_only, self.report = first_only, report or (lambda *_: None)
        self.only = only  # names of statements, of which alone is asked
        self.statements, self.failed, self.asking = 0, [], asking
        self.since, self.verbose = time.process_time(), False
        self.places = set()  # of the instructions that were executed without loops
        self.any = z3.ZeroExt(32, z3.BitVec("any", 32))

    # ---- asking

    def state(self, conditions, claim, what):
        """One statement: under the conditions the claim holds."""
        if not self.asking or self.only is not None and what not in self.only:
            return
        self.statement(what, *self.answers.prove(conditions, claim, what)[:2])

    def statement(self, what, verdict, values):
        self.statements += 1
        if verdict != UNSAT:
            self.failed.append((what, verdict, values))
            self.report(what, verdict, values)
            if self.first_only and verdict == SAT:
                raise Refuted(what)

    # ---- the parts of the proof

    def new_instance(self):
        """The invariant is true of a new instance."""
        values = [z3.BitVecVal(one.start, BITS[one.type]) for one in self.module.globals]
        registers = Registers(values, z3.BitVecVal(self.module.pages, 64))
        for name, part in PARTS.items():
            self.state([], part(registers), f"a new instance: {name}")
        self.state([], z3.BoolVal(z3.simplify(registers.top).as_long() % RECORD == 0), f"a new instance: {SLOTS}")
        whole = z3.Solver()
        whole.add(z3.Not(invariant.no_multiple_between()))
        self.statement("no multiple lies between a number and the largest below it", UNSAT if whole.check() == z3.unsat else UNKNOWN, None)
        r, state, assumed = self.any_state(Run(self.module))
        self.state(assumed, contract.a_gap_is_larger(r), "the heap: where first and last byte lie in it, so do those between")

    def any_state(self, run):
        """Registers, pages and memory as the invariant allows them."""
        values = [z3.BitVec(name, BITS[kind]) for name, (kind, _) in REGISTERS.items()]
        pages = z3.BitVec("pages", 64)
        registers = Registers(values, pages)
        assumed = [part(registers) for part in PARTS.values()]
        invariant.suppose_slots(registers, run)
        return registers, State((), [], values, run.fresh_memory(), pages, []), assumed

    def exports(self, names=None, loops=True):
        """All exports, or those; `loops`: also what leads to loops."""
        names = [name for name in contract.STATEMENTS if names is None or name in names]
        if "length" in names and self.module.function("length") is self.module.function("length_unsafe"):
            names.remove("length_unsafe")  # the same function, of which the same is said
        codes = {name: (name, self.kernel.code(self.module.function(name))) for name in names}
        self.as_before = [name for name in names if codes[name] in self.proved]
        names = [name for name in names if name not in self.as_before]
        before = len(self.failed)
        for name in names:
            for condition, statements in contract.CASES.get(name, ()):
                self.case(name, condition, statements)
                self.done(f"{name}, {condition.__name__}")
        looping = [name for name in names if self.has_loops(self.module.function(name))]
        for name in names:
            if name not in looping:
                self.straight(name)
                self.done(name)
        if loops and looping:
            self.looping(looping)
        if len(self.failed) == before:
            self.proved.update({code: True for code in codes.values()})

    def straight(self, name):
        """An export without loops: it doesn't trap, keeps the invariant, accesses what it may, and does what the contract says."""
        function, run = self.module.function(name), Run(self.module)
        before, state, assumed = self.any_state(run)
        arguments, memory = self.arguments(function), state.memory
        end = run.inline(function, arguments, state)
        self.places |= run.places
        self.export(name, run, None, before, assumed, arguments, memory, end)

    def looping(self, names):
        """Exports with loops, likewise, and the functions inside of them; what holds at the loops is found first."""
        cuts = Cuts(self.module, self.any, self.answers)
        inner = {}
        for name in names:
            inner |= self.reached_from(self.module.function(name))
        for function in inner.values():
            if cuts.is_summed_up(function) and function.index not in cuts.growth:
                cuts.prepare(function)
        for name in names:
            cuts.prepare(self.module.function(name), lambda r: [part(r) for part in PARTS.values()])
        cuts.settle()
        self.done("what holds at loops")
        for index in cuts.growth:
            for name in invariant.PARTS | {SLOTS: None}:
                stands = name in cuts.candidates[("before", index)]
                self.statement(f"growth begins with: {name}", UNSAT if stands else UNKNOWN, None)
        for body in cuts.bodies:
            start = body.start
            if body.function.name:
                self.export(body.function.name, body.run, cuts, start.registers, [], start.values, start.memory, body.end)
            else:
                self.notes(f"function {body.function.index}", body.run, cuts, start.registers)
            self.done(f"{body.function.name or f'function {body.function.index}'}, with its loops")

    def export(self, name, run, cuts, before, assumed, arguments, memory, end):
        self.notes(name, run, cuts, before, assumed, arguments)
        if end is None:
            return
        facts = assumed + self.facts(run, cuts)
        self.keeps(name, run, end, facts)
        self.contract(name, run, arguments, before, memory, end, facts, contract.STATEMENTS[name])

    def keeps(self, name, run, end, facts):
        """The invariant."""
        after = Registers(end.globals, end.pages)
        for what, part in PARTS.items():
            self.state(facts + list(end.condition), part(after), f"{name} keeps: {what}")
        self.state(facts + list(end.condition), invariant.show_slots(after, run.multiples), f"{name} keeps: {SLOTS}")

    def case(self, name, condition, statements):
        """An export under a condition: what it doesn't lead to is not followed."""
        function, run = self.module.function(name), Run(self.module)
        before, state, assumed = self.any_state(run)
        arguments, memory = self.arguments(function), state.memory
        assumed.append(condition(before, *arguments))

        def reached(run, state):
            return self.answers.ask(assumed + self.facts(run, None) + [state.reached], "a branch")[0]

        def unwound(run, state):
            if self.first_only and reached(run, state) == SAT:
                raise Refuted(f"{name}: leads to a loop")  # what comes after it would take long

        run.feasible = lambda run, state: reached(run, state) != UNSAT
        run.unwound = unwound
        end = run.inline(function, arguments, state)
        self.places |= run.places
        self.notes(name, run, None, before, assumed, arguments)
        if end is not None:
            facts = assumed + self.facts(run, None)
            if condition in contract.WITH_INVARIANT:
                self.keeps(name, run, end, facts)
            self.contract(name, run, arguments, before, memory, end, facts, statements)

    def done(self, name):
        """Says how long a part took."""
        now = time.process_time()
        if self.verbose:
            print(f"  {now - self.since:6.1f} s: {name}", flush=True)
        self.since = now

    def contract(self, name, run, arguments, before, memory, end, facts, statements):
        call = contract.Call(run, self.module.function(name), arguments, contract.Moment(before, memory), end, self.any)
        for what, claim in statements(call):
            self.state(facts + list(end.condition), claim, f"{name}: {what}")

    @staticmethod
    def arguments(function):
        return [z3.BitVec(f"argument{i}", BITS[kind]) for i, kind in enumerate(function.parameters)]

    def reached_from(self, function, found=None):
        found = {} if found is None else found
        if function.index not in found:
            found[function.index] = function
            for one in function.flat:
                if one.name == "call":
                    self.reached_from(self.module.functions[one.index], found)
        return found

    def has_loops(self, function):
        return any(one.name == "loop" for f in self.reached_from(function).values() for one in f.flat)

    @staticmethod
    def facts(run, cuts, count=None):
        return [fact for tag, fact in run.facts[:count] if tag is None or cuts.stands(tag)]

    def notes(self, name, run, cuts, before, assumed=(), arguments=()):
        for note in run.notes:
            claim = note.claim
            if note.kind in ("load", "store", "fill"):
                claim = contract.may_access(name, note, before, Registers(note.globals, note.pages), arguments)
            if claim is not None:
                facts = list(assumed) + self.facts(run, cuts, note.facts)
                self.state(facts + [note.condition], claim, f"{name}: no {note.kind} where it mustn't be, at {note.place:#x}")


def counterexample(values):
    """The arguments and registers of a case in which a statement is wrong."""
    inner = ("loaded", "result", "local", "register", "memory", "slot", "product", "rest", "granted")
    shown = {name: value for name, value in (values or {}).items() if not name.startswith(inner)}
    return ", ".join(f"{name} = {value:#x}" for name, value in sorted(shown.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", help="kernel files, of this or any other kernel")
    parser.add_argument("--only", action="append", help="an export; all if none is named")
    parser.add_argument("--loops", action="store_true", help="also what has loops, and what leads there")
    parser.add_argument("--verbose", action="store_true", help="say how long each part takes")
    options = parser.parse_args()
    wrong, seen, answers, proved = 0, {}, Answers(), {}

    def report(what, verdict, values):
        print(f"  {'WRONG' if verdict == SAT else 'UNDECIDED'}: {what}\n    {counterexample(values)}", flush=True)

    for path in options.files:
        with open(path, "rb") as file:
            kernel = Kernel(file.read())
        name = path.rpartition("/")[2]
        began, answers.asked, answers.slowest = time.process_time(), 0, (0, None)
        key = kernel.substance()
        if key in seen:
            print(f"{name}: runs as {seen[key]}, and is proved with it: the same code, registers, exports and memory")
            continue
        seen[key] = name
        if kernel.known:
            proof = Proof(kernel, answers, report=report, proved=proved)
            proof.verbose = options.verbose
            proof.new_instance()
            proof.exports(options.only, options.loops)
            statements, failed = proof.statements, len(proof.failed)
            if proof.as_before:
                print(f"{name}: the same code, proved already: {', '.join(proof.as_before)}")
        else:
            print(f"{name}: its registers are not those of the invariant, so only sequences of calls of a new instance are asked about")
            statements, failed = len(sequences.SEQUENCES), sequences.check(kernel.module, answers, report)
        wrong += failed
        seconds, (slowest, which) = time.process_time() - began, answers.slowest
        print(
            f"{name}: {statements - failed} of {statements} statements proved, with {answers.asked} questions in {seconds:.0f} s of CPU; "
            f"the slowest took {slowest:.1f} s: {which}",
            flush=True,
        )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
