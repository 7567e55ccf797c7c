"""Runs each check on both libraries, each in a process of its own: ours has to pass all, the released one to fail those that show
its defects, and what only ours has."""

import os
import subprocess
import sys

ours, released = sys.argv[1:3]
CHECKS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "checks.py")


def run(library, *arguments, timeout=60):
    """What came of it, and what it said."""
    environment = {**os.environ, "PYTHONPATH": library}
    environment.setdefault("EXTISM_CACHE_CONFIG", "")
    try:
        done = subprocess.run(
            [sys.executable, CHECKS, *arguments], env=environment, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return "hangs", ""
    if done.returncode < 0:
        return f"dies of signal {-done.returncode}", done.stderr
    return "passes" if done.returncode == 0 else "fails", done.stdout or done.stderr


passed, failed = 0, 0
listed = run(ours)
if listed[0] != "passes":
    sys.exit(f"the SDK can't load our library: {listed[1]}")
for line in listed[1].splitlines():
    name, number = line.split()
    here, text = run(ours, name)
    there, _ = run(released, name, timeout=20)
    is_right = here == "passes" and (there == "passes") == (number == "-")
    passed, failed = passed + is_right, failed + (not is_right)
    print(f"{'ok' if is_right else 'NOT OK':8}{name:50} ours {here}, released {there}", flush=True)
    if here != "passes":
        print(text)
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)
