"""Asks whether conditions can all be true at once. The terms are Z3's, and Bitwuzla decides: it takes a fifth of the time."""

import hashlib
import time

import bitwuzla
import z3

UNSAT, SAT, UNKNOWN = "unsat", "sat", "unknown"


class Answers:
    """Counts and times what was asked. Files that have much code in common have many questions in common: each is asked once."""

    def __init__(self, milliseconds=300_000):
        self.milliseconds, self.asked, self.slowest = milliseconds, 0, (0, None)
        self.known = set()  # questions, as hashes of their texts, that were answered with UNSAT

    def ask(self, conditions, what=None):
        """The verdict, and for SAT the values of all variables but memories."""
        began = time.process_time()
        verdict, values = self.decide(conditions)
        self.slowest = max(self.slowest, (time.process_time() - began, str(what)))
        return verdict, values

    def decide(self, conditions):
        conditions = [z3.simplify(one) for one in conditions]
        if any(z3.is_false(one) for one in conditions):
            return UNSAT, None
        text = z3.Solver()
        text.add([one for one in conditions if not z3.is_true(one)])
        text = "(set-logic QF_ABV)\n" + text.to_smt2()
        key = hashlib.sha256(text.encode()).digest()
        if key in self.known:
            return UNSAT, None
        self.asked += 1
        terms, options = bitwuzla.TermManager(), bitwuzla.Options()
        options.set(bitwuzla.Option.PRODUCE_MODELS, True)
        options.set(bitwuzla.Option.TIME_LIMIT_PER, self.milliseconds)
        parser = bitwuzla.Parser(terms, options)
        parser.parse(text, True, False)
        solver = parser.bitwuzla()
        result = solver.check_sat()
        if result == bitwuzla.Result.UNSAT:
            self.known.add(key)
            return UNSAT, None
        if result != bitwuzla.Result.SAT:
            return UNKNOWN, None
        values = {}
        for term in parser.get_declared_funs():
            if term.sort().is_bv():
                values[term.symbol().strip("|")] = int(solver.get_value(term).value(10))
        return SAT, values


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
