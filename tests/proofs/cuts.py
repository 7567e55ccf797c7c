"""Loops and functions with loops, without following their turns: what holds whenever they are come by is found, and proved.

For each such place there are candidates, made of templates: each part of the invariant, and simple relations of locals, arguments and
results to registers and to each other. All are supposed at first. Whatever one way to the place doesn't keep is struck out, until all that is
left is kept by every way (Houdini: Flanagan and Leino, 2001). So what is left holds after any number of turns.
"""

from dataclasses import dataclass, field

import z3

import invariant
from solver import UNSAT, evaluated
from symbolic import BITS, Run, State, merged, unsigned
from wasm import I32, I64


SMALL = 20  # instructions of a function that is looked into wherever it is called


@dataclass
class View:
    """What a candidate may speak about, at one place."""

    globals: list
    pages: object
    memory: object
    values: list  # locals, or arguments
    results: list = field(default_factory=list)
    before: "View | None" = None  # when the function began

    @property
    def registers(self):
        return invariant.Registers(self.globals, self.pages)


@dataclass
class Claim:
    """One way to a place, at which all its candidates must hold."""

    key: tuple
    condition: object
    reached: tuple  # the same, as ids of its conjuncts
    facts: int
    view: View
    multiples: list  # that are known there


@dataclass
class Body:
    """A function, executed once on its own."""

    function: object
    run: Run
    claims: list = field(default_factory=list)
    kept: list = field(default_factory=list)
    supposed: dict = field(default_factory=dict)  # id of a condition: where it is supposed, as tag, way and number of the fact


@dataclass
class Effects:
    """What a piece of code may change."""

    locals: set = field(default_factory=set)
    globals: set = field(default_factory=set)
    memory: bool = False
    pages: bool = False


class Cuts:
    def __init__(self, module, watched, answers):
        self.module, self.watched, self.answers = module, watched, answers
        self.candidates = {}  # key: {name: template}, those that still stand
        # Growth is not looked into: `after_growth` says what is supposed of it.
        self.growth = {f.index for f in module.functions if any(one.name == "memory.grow" for one in f.flat)}
        self.looping = self.find_looping() | self.growth
        self.current = None  # the body that is executed
        self.bodies = []

    def find_looping(self):
        """The functions with loops, and those that call one and aren't small; an export is what is proved, and is no part of another."""
        functions = self.module.functions
        looping = {f.index for f in functions if any(one.name == "loop" for one in f.flat)}
        while True:
            more = {f.index for f in functions if len(f.flat) > SMALL and any(one.name == "call" and one.index in looping for one in f.flat)}
            if more <= looping:
                return {index for index in looping if not functions[index].name}
            looping |= more

    # ---- executing

    def prepare(self, function, assume=None):
        """Executes a function from any state that its candidates, or `assume`, allow."""
        run = Run(self.module, cuts=self, watched=self.watched)
        body = self.current = Body(function, run)
        self.bodies.append(body)
        arguments = [run.fresh(f"argument{i}", BITS[kind]) for i, kind in enumerate(function.parameters)]
        state = self.any_state(run)
        start = View(list(state.globals), state.pages, state.memory, arguments)
        body.start = self.start = start
        if assume:
            for fact in assume(start.registers):
                self.suppose_one(run, fact, state)
            invariant.suppose_slots(start.registers, run)
        else:
            self.suppose(run, ("before", function.index), start, state)
        state.condition = ()
        ends = run.ends(function, arguments, state)
        body.end = merged(ends)
        for end in ends if not assume else ():
            self.claim(run, ("after", function.index), self.after(end, arguments, end.stack, start), end)
        return body

    def any_state(self, run):
        registers = [run.fresh(f"register{i}", BITS[one.type]) for i, one in enumerate(self.module.globals) if one.start is not None]
        return State((), [], registers, run.fresh_memory(), run.fresh("pages", 64), [])

    @staticmethod
    def after(state, arguments, results, before):
        return View(list(state.globals), state.pages, state.memory, arguments, list(results), before)

    def is_summed_up(self, function):
        return function.index in self.looping

    def call(self, run, function, arguments, state):
        """A function that is summed up: its candidates before must hold, those after may be supposed."""
        before = View(list(state.globals), state.pages, state.memory, arguments)
        self.claim(run, ("before", function.index), before, state)
        state = state.copy()
        effects = self.effects(function.body, function)
        effects.locals.clear()  # they are its own
        self.forget(run, state, effects)
        results = [run.fresh("result", BITS[kind]) for kind in function.results]
        self.suppose(run, ("after", function.index), self.after(state, arguments, results, before), state)
        state.stack += results
        return state

    def loop(self, run, one, state, labels, function):
        key = ("loop", one.at)
        start = self.start

        def view(state):
            return View(list(state.globals), state.pages, state.memory, list(state.locals), before=start)

        self.claim(run, key, view(state), state)
        state = state.copy()
        self.forget(run, state, self.effects(one.body, function))
        self.suppose(run, key, view(state), state)
        height = len(state.stack)
        again = (0, lambda turn: self.claim(run, key, view(turn), turn))
        end = run.sequence(one.body, state, labels + [again], function)
        return run.join((len(one.results), []), end, height)

    def forget(self, run, state, effects):
        """Makes anything of what the code may change."""
        for i in effects.locals:
            state.locals[i] = run.fresh(f"local{i}", state.locals[i].size())
        for i in effects.globals:
            state.globals[i] = run.fresh(f"register{i}", state.globals[i].size())
        if effects.memory:
            state.memory = run.fresh_memory()
        if effects.pages:
            state.pages = run.fresh("pages", 64)

    def effects(self, body, function):
        result = Effects()
        for one in body:
            if one.name in ("local.set", "local.tee"):
                result.locals.add(one.index)
            elif one.name == "global.set":
                result.globals.add(one.index)
            elif "store" in one.name or one.name in ("memory.fill", "memory.copy"):
                result.memory = True
            elif one.name == "memory.grow":
                result.memory = result.pages = True
            elif one.name == "call":
                callee = self.module.functions[one.index]
                inner = self.effects(callee.body, callee)
                self.add(result, inner)
            inner = self.effects(one.body + one.orelse, function)
            result.locals |= inner.locals
            self.add(result, inner)
        return result

    @staticmethod
    def add(result, inner):
        result.globals |= inner.globals
        result.memory |= inner.memory
        result.pages |= inner.pages

    # ---- candidates

    def candidates_of(self, key, view):
        if key not in self.candidates:
            growth = key[0] != "loop" and key[1] in self.growth
            self.candidates[key] = parts_only() if growth and key[0] == "before" else after_growth() if growth else templates(view, self.watched)
        return self.candidates[key]

    def claim(self, run, key, view, state):
        self.candidates_of(key, view)
        self.current.claims.append(Claim(key, state.reached, tuple(one.get_id() for one in state.condition), len(run.facts), view, list(run.multiples)))

    def suppose(self, run, key, view, state):
        """Makes facts of a place's candidates: each as long as it stands."""
        standing = self.candidates_of(key, view)
        for name, template in standing.items():
            if template:
                self.suppose_one(run, template(view), state, (key, name))
        invariant.suppose_slots(view.registers, run, (key, invariant.SLOTS), state.reached)

    def suppose_one(self, run, condition, state, tag=None):
        way = tuple(one.get_id() for one in state.condition)
        self.current.supposed.setdefault(condition.get_id(), []).append((tag, way, len(run.facts)))
        self.current.kept.append(condition)  # or its id might be given to another
        run.fact(z3.Implies(state.reached, condition), tag)

    def settle(self):
        """Strikes out what isn't kept, until nothing is left to strike out. What a way keeps is asked again only if something that this rested
        on was struck out."""
        ways = [(body, claim) for body in self.bodies for claim in body.claims]
        rests_on = [{} for _ in ways]  # for each way, of each candidate that it keeps: what that rests on
        is_open = [True] * len(ways)
        while True in is_open:
            i = is_open.index(True)
            is_open[i] = False
            struck = self.strike_out(*ways[i], rests_on[i])
            if struck:
                for j, kept in enumerate(rests_on):
                    for name in [name for name, tags in kept.items() if tags & struck]:
                        del kept[name]
                        is_open[j] = True

    def strike_out(self, body, claim, rests_on):
        """Strikes out what one way to a place doesn't keep; the tags of what was struck out."""
        standing, struck = self.candidates[claim.key], set()
        conditions = {}
        for name, template in standing.items():
            conditions[name] = template(claim.view) if template else invariant.show_slots(claim.view.registers, claim.multiples)
        for asked, condition in conditions.items():
            if asked not in standing or asked in rests_on:
                continue
            tag = self.is_supposed(body, claim, condition)
            if tag is not None:
                rests_on[asked] = {tag}
                continue
            facts = [(tag, fact) for tag, fact in body.run.facts[: claim.facts] if self.stands(tag)]
            question = [fact for _, fact in facts] + [claim.condition]
            what = (body.function.name or body.function.index, claim.key, asked)
            answer, values, core = self.answers.prove(question, condition, what, True)
            if answer == UNSAT:
                rests_on[asked] = {facts[i][0] for i in core if i < len(facts)}
                continue
            struck.add((claim.key, asked))
            for name in list(standing) if values else ():
                if name != asked and evaluated(conditions[name], values) is False:
                    struck.add((claim.key, name))
            for key, name in struck:
                standing.pop(name, None)
        return struck

    def stands(self, tag):
        return tag is None or tag[1] in self.candidates[tag[0]]

    def is_supposed(self, body, claim, condition):
        """The tag under which the very same is supposed on this way, if it is: nothing that it speaks about has changed."""
        for tag, reached, i in body.supposed.get(condition.get_id(), ()):
            if i < claim.facts and self.stands(tag) and reached == claim.reached[: len(reached)]:
                return tag or ("always",)
        return None


def parts_only():
    """The invariant, as candidates: what must stand where memory is to grow."""
    found = {invariant.SLOTS: None}
    for name, part in invariant.PARTS.items():
        found[name] = lambda v, part=part: part(v.registers)
    return found


def after_growth():
    """What is supposed of growth: it keeps the invariant; if it answers that it is done there is room, and nothing more is reserved; if not, no record
    has moved."""
    found = parts_only()
    found["room, unless the answer is 0"] = lambda v: z3.Or(v.results[0] == 0, has_room(v.registers, v.values[0]))
    reserved = invariant.RESERVE, invariant.BEYOND + invariant.RESERVE
    records = ("floor", "peak", "front", "front_peak")
    found["records lie where they did, if the answer is 0"] = lambda v: z3.Or(
        v.results[0] != 0, z3.And([getattr(v.registers, name) == getattr(v.before.registers, name) for name in records])
    )
    found["reset has something to do, unless the answer is 0"] = lambda v: z3.Or(v.results[0] == 0, v.registers.dirty != 0)
    found["no more is reserved, unless the answer is 0"] = lambda v: z3.Or(v.results[0] == 0, *[v.registers.reserve == one for one in reserved])
    return found


def templates(view, watched):
    """The candidates of a place, by name."""
    found = parts_only()
    if view.before:
        for i, value in enumerate(view.globals):
            if not value.eq(view.before.globals[i]):
                found[f"register {i} is what it was"] = lambda v, i=i: v.globals[i] == v.before.globals[i]
        if not view.memory.eq(view.before.memory):
            found["the watched byte is what it was, or 0"] = lambda v: z3.Or(v.memory == v.before.memory, v.memory == 0)
            found["the watched byte is what it was"] = lambda v: v.memory == v.before.memory
            for i, j in pairs_of_addresses(view):

                def between(v, more, i=i, j=j):
                    return invariant.ordered(unsigned(v.before.values[i]), watched, unsigned(v.values[j]) + more)

                found[f"filled from argument {i} to {j}"] = lambda v, f=between: z3.Implies(f(v, -1), v.memory == 0)
                found[f"changed from argument {i} to {j} only"] = lambda v, f=between: z3.Or(v.memory == v.before.memory, f(v, 6))
    for i, value in enumerate(view.values if view.before and view.results else ()):
        if value.size() == 64:
            found[f"argument {i}: so much room, unless the answer is 0"] = lambda v, i=i: z3.Or(v.results[0] == 0, has_room(v.registers, v.values[i]))
    kinds = [("values", i) for i, value in enumerate(view.values)] + [("results", i) for i in range(len(view.results))]
    small = [(kind, i) for kind, i in kinds if getattr(view, kind)[i].size() == 32]
    for kind, i in small:

        def value(v, kind=kind, i=i):
            return unsigned(getattr(v, kind)[i])

        what = f"{kind} {i}"
        found[f"{what}: below the top"] = lambda v, value=value: z3.ULT(value(v), v.registers.top)
        found[f"{what}: a record"] = lambda v, value=value: invariant.is_record(v.registers, value(v))
        found[f"{what}: a record or none"] = lambda v, value=value: z3.Or(value(v) == 0, invariant.is_record(v.registers, value(v)))
        found[f"{what}: a cell"] = lambda v, value=value: is_cell(v.registers, value(v))
        found[f"{what}: in the low memory"] = lambda v, value=value: z3.ULT(value(v), invariant.BASE)
        found[f"{what}: not 0"] = lambda v, value=value: value(v) != 0
    return found


def pairs_of_addresses(view):
    """The numbers of an argument and a local that may be the ends of what is filled."""
    small = [[i for i, value in enumerate(values) if value.size() == 32] for values in (view.before.values, view.values)]
    return [(i, j) for i in small[0] for j in small[1]]


def is_cell(r, cell):
    """A word of the low memory, or one of the links of a record."""
    return z3.Or(z3.ULT(cell, invariant.BASE), invariant.is_record(r, (cell & 0xFFFFFFF8) - 8))


def has_room(r, count):
    """Whether so many bytes lie between frontier and floor."""
    return invariant.ordered(r.frontier, r.frontier + count, r.floor)
