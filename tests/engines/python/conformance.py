"""Replays conformance.json, in a process of its own, which is ended if a case runs endlessly.

The kernel of an engine is an object with call(name, *arguments), size(), read(at, length), write(at, data),
grow(pages), export_names() and context(what), all numbers unsigned. It is opened as Kernel(bytes, spare pages).
"""

import json
import multiprocessing
import re
import resource
import signal
import sys
import time

SECONDS = 20  # of processor time for a case, as tens of thousands of calls take a while from here; more is an endless loop
SPARE_PAGES = 1024  # for cases that don't say
PAGE = 65536
ALL_64 = 2**64 - 1

CHECKS = {
    "result": lambda x, y: x == y,
    "result_not": lambda x, y: x != y,
    "result_below": lambda x, y: x < y,
    "result_at_least": lambda x, y: x >= y,
    "result_multiple_of": lambda x, y: x % y == 0,
}


class Failure(Exception):
    pass


class Replay:
    """A case under way."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.names = {"start": kernel.size()}

    def number(self, operand):
        if not operand.startswith("$"):
            return int(operand)
        name, delta = re.fullmatch(r"\$([a-z_]+)([+-]\d+)?", operand).groups()
        value = self.kernel.size() if name == "end" else self.names[name]
        return value + int(delta or 0) & ALL_64

    def inside(self, at, length):
        return at + length <= self.kernel.size()

    def read(self, at, length):
        if not self.inside(at, length):
            raise Failure(f"{length} bytes at {at} are not in the memory")
        return self.kernel.read(at, length)

    def write(self, at, data):
        if not self.inside(at, len(data)):
            raise Failure(f"{len(data)} bytes at {at} are not in the memory")
        self.kernel.write(at, data)

    def content(self, step):
        """What a step reads or writes: these bytes, or one byte so many times."""
        if "hex" in step:
            return bytes.fromhex(step["hex"])
        return bytes([int(step["byte"])]) * min(self.number(step["length"]), self.kernel.size() + 1)

    def run(self, steps):
        for step in steps:
            self.step(step)

    def step(self, step):
        ok, result, number = True, None, self.number
        match step:
            case {"repeat": count}:
                for _ in range(int(count)):
                    self.run(step["steps"])
            case {"call": name, "args": args}:
                result = self.kernel.call(name, *map(number, args))
            case {"peek": at}:
                result = int.from_bytes(self.read(number(at), 8), "little")
            case {"poke": at, "value": value}:
                self.write(number(at), number(value).to_bytes(8, "little"))
            case {"value": value}:
                result = number(value)
            case {"read": at}:
                content = self.content(step)
                ok = self.read(number(at), len(content)) == content
            case {"write": at}:
                self.write(number(at), self.content(step))
            case {"pages": pages}:
                ok = self.kernel.size() == int(pages) * PAGE
            case {"grow": pages}:
                self.kernel.grow(int(pages))
            case {"inside": at, "length": length}:
                ok = number(length) == 0 or self.inside(number(at), number(length))
            case {"exports": names, "optional": optional}:
                # That it imports nothing is shown: it was instantiated without imports.
                ok = sorted(set(self.kernel.export_names()) - set(optional)) == sorted(names)
            case {"context": what}:
                ok = self.kernel.context(what)
            case _:
                raise Failure("a step of an unknown kind")
        for key, holds in CHECKS.items():
            ok = ok and (key not in step or holds(result, number(step[key])))
        if "result_one_of" in step:
            ok = ok and result in map(number, step["result_one_of"])
        if not ok:
            raise Failure(f"{json.dumps(step)} gave {result}")
        if "save" in step:
            self.names[step["save"]] = result


def worker(open_kernel, kernel, cases, pipe):
    """Sends what is wrong with each case, or None. A case that takes too long ends the process with SIGXCPU."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    for case in cases:
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + SECONDS, most))
        try:
            Replay(open_kernel(kernel, int(case.get("spare", SPARE_PAGES)))).run(case["steps"])
            pipe.send(None)
        except Failure as failure:
            pipe.send(str(failure))
        except Exception as error:  # engines have traps as exceptions of many classes
            pipe.send(f"trap: {error!r}")


def run(open_kernel, kernel, file):
    """Runs all cases and tells on stderr which failed: how many there are, how many failed."""
    with open(file, encoding="utf8") as contract:
        cases = json.load(contract)["cases"]
    failures, done = 0, 0
    while done < len(cases):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=worker, args=(open_kernel, kernel, cases[done:], theirs))
        process.start()
        theirs.close()
        alive = True
        while alive and done < len(cases):
            try:
                failure = ours.recv()
            except EOFError:
                process.join()
                failure = "endless loop" if process.exitcode == -signal.SIGXCPU else "the engine crashed"
                alive = False
            if failure:
                failures += 1
                case = cases[done]
                print(f"FAILED section {case['section']}, {case['name']}: {failure} ({case['reason']})", file=sys.stderr)
            done += 1
        process.kill()
        process.join()
    return len(cases), failures
