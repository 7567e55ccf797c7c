"""Asks whether conditions can all be true at once. The terms are Z3's, and Bitwuzla decides: it takes a fifth of the time."""

import hashlib
import time

import bitwuzla
import z3

UNSAT, SAT, UNKNOWN = "unsat", "sat", "unknown"
AT_ONCE = 1000  # milliseconds for a statement as a whole, for a part of it, and for a case
MOST_CASES = 6  # how often they are told apart, one inside of another


class Answers:
    """Counts and times what was asked. Files that have much code in common have many questions in common: each is asked once."""

    def __init__(self, milliseconds=300_000, cases=MOST_CASES):
        self.milliseconds, self.cases = milliseconds, cases
        self.asked, self.slowest = 0, (0, None)
        self.known = {}  # questions, as hashes of their texts: the answers, and after how long

    def ask(self, conditions, what=None):
        """The verdict, and for SAT the values of all variables but memories."""
        verdict, values, _ = self.explain(conditions, what, False)
        return verdict, values

    def prove(self, conditions, claim, what=None, core=False):
        """The verdict on conditions and the claim's contrary, and so on; what isn't decided at once is asked part by part, and then case by case."""
        verdict, values, found = self.explain(conditions + [z3.Not(claim)], what, core, AT_ONCE)
        if verdict != UNKNOWN:
            return verdict, values, found
        found = set()
        for part in pieces(claim):
            verdict, values, taken = self.prove_cases(conditions, part, what, core, self.cases)
            if verdict != UNSAT:
                return verdict, values, None
            found |= taken
        return UNSAT, None, found

    def prove_cases(self, conditions, claim, what, core, left):
        """The same for a condition's being true and false, of which the claim's terms depend, so that these are simpler."""
        verdict, values, found = self.explain(conditions + [z3.Not(claim)], what, core, AT_ONCE if left else None)
        if verdict != UNKNOWN or not left:
            return verdict, values, found
        conditions, claim = [z3.simplify(one) for one in conditions], z3.simplify(claim)
        case = deepest_condition(claim)
        if case is None:
            return self.prove_cases(conditions, claim, what, core, 0)
        found = set()
        for condition, value in ((case, True), (z3.Not(case), False)):
            *simpler, simple_claim = [z3.substitute(one, (case, z3.BoolVal(value))) for one in conditions + [claim]]
            verdict, values, taken = self.prove_cases(simpler + [condition], simple_claim, what, core, left - 1)
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
        for division in ("bvudiv", "bvurem", "bvsdiv", "bvsrem"):
            text = text.replace(division + "_i", division)  # so Z3 calls those by what isn't 0
        key = hashlib.sha256(text.encode()).digest()
        milliseconds = milliseconds or self.milliseconds
        verdict, values, found, limit = self.known.get(key, (UNKNOWN, None, None, 0))
        if verdict == UNKNOWN and limit < milliseconds:
            verdict, values, found = self.decide(text, len(parts), core, milliseconds)
            self.known[key] = verdict, values, found, milliseconds
            self.asked += 1
            self.slowest = max(self.slowest, (time.process_time() - began, str(what)))
        if verdict != UNSAT:
            return verdict, values, None
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


def deepest_condition(term):
    """That of the if-then-else with the deepest terms inside, so the one that was put together last; None if there is none."""
    depths, best, waiting = {}, (0, None), [term]
    while waiting:
        term = waiting[-1]
        inner = [one for one in term.children() if one.get_id() not in depths]
        if inner:
            waiting += inner
            continue
        waiting.pop()
        depth = depths[term.get_id()] = 1 + max([depths[one.get_id()] for one in term.children()], default=0)
        if z3.is_app_of(term, z3.Z3_OP_ITE) and depth > best[0] and not z3.is_bv_value(term.arg(1)):
            best = depth, term.arg(0)
    return best[1]


def evaluated(condition, values):
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
