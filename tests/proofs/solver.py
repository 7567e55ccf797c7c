"""Asks whether conditions can all be true at once. The terms are Z3's, and Bitwuzla decides: it takes a fifth of the time."""

import hashlib
import time

import bitwuzla
import z3

UNSAT, SAT, UNKNOWN = "unsat", "sat", "unknown"
AT_ONCE = 1000  # milliseconds for a statement as a whole


class Answers:
    """Counts and times what was asked. Files that have much code in common have many questions in common: each is asked once."""

    def __init__(self, milliseconds=300_000):
        self.milliseconds, self.asked, self.slowest = milliseconds, 0, (0, None)
        self.known = {}  # questions, as hashes of their texts, that were answered with UNSAT, and which of the conditions that takes

    def ask(self, conditions, what=None):
        """The verdict, and for SAT the values of all variables but memories."""
        verdict, values, _ = self.explain(conditions, what, False)
        return verdict, values

    def prove(self, conditions, claim, what=None, core=False):
        """The verdict on conditions and the claim's contrary, and so on; what isn't decided at once is asked part by part."""
        parts = pieces(claim)
        if len(parts) > 1:
            verdict, values, taken = self.explain(conditions + [z3.Not(claim)], what, core, AT_ONCE)
            if verdict != UNKNOWN:
                return verdict, values, taken
        found = set()
        for part in parts:
            verdict, values, taken = self.explain(conditions + [z3.Not(part)], what, core)
            if verdict != UNSAT:
                return verdict, values, None
            found |= taken
        return UNSAT, None, found

    def explain(self, conditions, what=None, core=True, milliseconds=None):
        """The same, and for UNSAT the indices of the conditions that are enough for it."""
        began = time.process_time()
        conditions = [z3.simplify(one) for one in conditions]
        for i, one in enumerate(conditions):
            if z3.is_false(one):
                return UNSAT, None, {i}
        parts = [(i, part) for i, one in enumerate(conditions) for part in conjuncts(one)]
        kept = [i for i, _ in parts]
        text = z3.Solver()
        for _, part in parts:
            text.add(part)
        assert len(text.assertions()) == len(parts)
        text = "(set-logic QF_ABV)\n" + text.to_smt2()
        key = hashlib.sha256(text.encode()).digest()
        if key not in self.known:
            verdict, values, found = self.decide(text, len(parts), core, milliseconds or self.milliseconds)
            self.asked += 1
            self.slowest = max(self.slowest, (time.process_time() - began, str(what)))
            if verdict != UNSAT:
                return verdict, values, None
            self.known[key] = found
        found = self.known[key]
        return UNSAT, None, set(kept) if found is None else {kept[i] for i in found}

    def decide(self, text, count, core, milliseconds):
        terms, options = bitwuzla.TermManager(), bitwuzla.Options()
        options.set(bitwuzla.Option.PRODUCE_MODELS, True)
        options.set(bitwuzla.Option.PRODUCE_UNSAT_CORES, core)
        options.set(bitwuzla.Option.TIME_LIMIT_PER, milliseconds)
        parser = bitwuzla.Parser(terms, options)
        parser.parse(text, True, False)
        solver = parser.bitwuzla()
        asserted = [hash(one) for one in solver.get_assertions()] if core else []  # in the order of the text
        result = solver.check_sat()
        if result == bitwuzla.Result.UNSAT:
            if not core:
                return UNSAT, None, None
            taken = {hash(one) for one in solver.get_unsat_core()}
            if len(asserted) != count or not taken <= set(asserted):
                return UNSAT, None, None  # some were taken apart
            return UNSAT, None, [i for i, one in enumerate(asserted) if one in taken]
        if result != bitwuzla.Result.SAT:
            return UNKNOWN, None, None
        values = {}
        for term in parser.get_declared_funs():
            if term.sort().is_bv():
                values[term.symbol().strip("|")] = int(solver.get_value(term).value(10))
        return SAT, values, None


def conjuncts(condition):
    """The parts that must all be true."""
    if z3.is_and(condition):
        return [part for one in condition.children() for part in conjuncts(one)]
    if z3.is_not(condition) and z3.is_or(condition.arg(0)):
        return [part for one in condition.arg(0).children() for part in conjuncts(z3.simplify(z3.Not(one)))]
    return [] if z3.is_true(condition) else [condition]


def pieces(claim):
    """Claims that together are this one."""
    if z3.is_and(claim):
        return [part for one in claim.children() for part in pieces(one)]
    if z3.is_implies(claim):
        return [z3.Implies(claim.arg(0), part) for part in pieces(claim.arg(1))]
    if z3.is_app_of(claim, z3.Z3_OP_ITE):
        condition, yes, no = claim.children()
        return [z3.Implies(condition, part) for part in pieces(yes)] + [z3.Or(condition, part) for part in pieces(no)]
    return [] if z3.is_true(claim) else [claim]


def evaluated(condition, values, cache={}):
    """Whether a condition without memories is true for these values of its variables; None if that isn't clear."""
    pairs = []
    for variable in variables(condition):
        pairs.append((variable, z3.BitVecVal(values.get(variable.decl().name(), 0), variable.size())))
    value = z3.simplify(z3.substitute(condition, pairs))
    return True if z3.is_true(value) else False if z3.is_false(value) else None


def variables(*conditions):
    """The variables that are numbers."""
    found, seen, waiting = [], set(), list(conditions)
    while waiting:
        term = waiting.pop()
        if term.get_id() in seen:
            continue
        seen.add(term.get_id())
        if z3.is_const(term) and term.decl().kind() == z3.Z3_OP_UNINTERPRETED and z3.is_bv(term):
            found.append(term)
        waiting += term.children()
    return found
