"""Changes one instruction of a kernel file at a time, and proves that the proof notices: `mutate.py FILE`.

Changed is what is executed where no loop is: there the proof says all that the contract says. Each change keeps the length of the file. What
survives must be in `survivors.txt`, with the reason why it changes nothing.
"""

import argparse
import os
import sys
import time

import contract
import wasm
from prove import Kernel, Proof, Refuted
from solver import MOST_CASES, Answers

# What an opcode is exchanged for.
EXCHANGE = {
    "lt_u": "le_u", "le_u": "lt_u", "gt_u": "ge_u", "ge_u": "gt_u", "eq": "ne", "ne": "eq",
    "add": "sub", "sub": "add", "and": "or", "or": "and", "xor": "or", "shl": "shr_u", "shr_u": "shl",
    "load8_u": "load8_s", "store8": "store16",
}  # fmt: skip
OPCODES = {name: opcode for opcode, name in wasm.PLAIN.items()} | {name: opcode for opcode, (name, *_) in wasm.MEMORY.items()}
DROP, NOP = 0x1A, 0x01


def changes(data, one):
    """The changes of an instruction: a name, and its new bytes."""
    old = data[one.at : one.end]
    kind, _, operation = one.name.partition(".")
    if operation in EXCHANGE:
        new = f"{kind}.{EXCHANGE[operation]}"
        yield new, bytes([OPCODES[new]]) + old[1:]
    if operation == "const":
        for value in (one.value + 1, one.value - 1):
            new = bytes([one.opcode]) + signed(value, len(old) - 1)
            yield f"{one.name} {value}", new
    if one.name in ("br_if", "global.set") and len(old) == 2:
        yield "drop", bytes([DROP, NOP])
    if one.opcode in wasm.MEMORY and len(old) == 3:
        offset = one.index + 1 if one.index < 127 else one.index - 1
        yield f"{one.name} offset={offset}", old[:2] + bytes([offset])


def signed(value, length):
    """The LEB128 of a number, in so many bytes; None if it takes more."""
    result = bytearray()
    for i in range(length):
        last = i == length - 1
        result.append(value & 0x7F | (0 if last else 0x80))
        value = value >> 7
    fits = value in (0, -1) and (result[-1] & 0x40 != 0) == (value == -1)
    return bytes(result) if fits else b""


def candidates(kernel):
    """All changes: function, instruction, name and bytes."""
    module, data = kernel.module, kernel.module.bytes
    proof = Proof(kernel, Answers(), asking=False)
    proof.exports(loops=False)
    for function in module.functions:
        for one in function.flat:
            for name, new in changes(data, one) if one.at in proof.places else ():
                if len(new) == one.end - one.at and new != data[one.at : one.end]:
                    yield function, one, name, new


QUICK, PATIENT = (8_000, 0), (60_000, MOST_CASES)  # milliseconds for a question, and how often cases are told apart


def check(kernel, answers, function, one, new):
    """The first statement that isn't so of a changed file, and those that can't be decided."""
    data = bytearray(kernel.module.bytes)
    data[one.at : one.end] = new
    mutant = Kernel(bytes(data))
    if not mutant.known:
        return "its registers are not those of the invariant", []
    open_ones = None
    # Most are refused by something simple: what takes long is asked only where nothing else refuses.
    for answers.milliseconds, answers.cases in QUICK, PATIENT:
        proof = Proof(mutant, answers, first_only=True, only=open_ones)
        names = [name for name in contract.STATEMENTS if function.index in proof.reached_from(mutant.module.function(name))]
        # Two exports may be one function; those without loops are the quickest to ask.
        names.sort(key=lambda name: proof.has_loops(mutant.module.function(name)))
        try:
            proof.exports(names, loops=False)
        except Refuted as refuted:
            return str(refuted), []
        open_ones = [what for what, _, _ in proof.failed]
        if not open_ones:
            break
    return None, open_ones


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--sample", type=int, default=80, help="how many changes, evenly spread over all; 0: all")
    options = parser.parse_args()
    with open(options.file, "rb") as file:
        kernel = Kernel(file.read())
    every = list(candidates(kernel))
    step = max(1, len(every) // options.sample) if options.sample else 1
    chosen = every[::step]
    with open(os.path.join(os.path.dirname(__file__), "survivors.txt"), encoding="utf-8") as file:
        explained = {line.split(" | ")[0] for line in file if " | " in line}
    answers = Answers()  # changed files have much in common
    refused = survived = undecided = unexplained = 0
    began = time.process_time()
    for function, one, name, new in chosen:
        value = f" {one.value}" if one.name.endswith("const") else f" offset={one.index}" if one.opcode in wasm.MEMORY else ""
        number = function.flat.index(one)
        what = f"{function.name or f'function {function.index}'}: {one.name}{value} no. {number} -> {name}"
        started = time.process_time()
        reason, open_ones = check(kernel, answers, function, one, new)
        seconds = time.process_time() - started
        if reason:
            refused += 1
            print(f"refused  {what}: {reason} ({seconds:.1f} s)", flush=True)
        elif open_ones:
            undecided += 1
            print(f"UNDECIDED {what}: {', '.join(open_ones)} ({seconds:.1f} s)", flush=True)
        else:
            survived += 1
            known = what in explained
            unexplained += not known
            print(f"SURVIVED {what}{' (explained)' if known else ''} ({seconds:.1f} s)", flush=True)
    seconds = time.process_time() - began
    print(f"{refused} of {len(chosen)} changes refused ({len(every)} there are), {survived} survived, {unexplained} of these unexplained, {undecided} not decided; {seconds:.0f} s of CPU")
    sys.exit(1 if unexplained or undecided or refused < 60 else 0)


if __name__ == "__main__":
    main()
