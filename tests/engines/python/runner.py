"""The same for all engines that Python reaches: runs everything, prints the JSON line."""

import json
import sys
from pathlib import Path

import conformance
from checks import Checks, expect, echo, passes
from kernel_trace import trace_hash


def signed(value, bits):
    """The signed number with the same lowest bits, as the engines want them."""
    half = 1 << bits - 1
    return (value + half) % (2 * half) - half


def main(engine, version, kernel_class, plugin_class, plugin_error, has_context, limit):
    """limit: the options for a plugin whose kernel may have four pages; None if the engine can't limit it."""
    kernel_file, cases_file, folder = sys.argv[1:]
    kernel = Path(kernel_file).read_bytes()
    checks = Checks(plugin_class, plugin_error, kernel, folder, has_context)
    summary = {"engine": engine, "version": version}

    def four_pages():
        plugin = checks.open("echo", **limit)
        echo(plugin, 65536)
        expect(plugin.kernel_call("alloc", 1048576), 0)

    def measure(key, body):
        """What can't be told of a kernel that doesn't even load is null."""
        summary[key] = None
        return passes(key, lambda: summary.update({key: body()}))

    summary["cases"], summary["failed"] = conformance.run(kernel_class, kernel, cases_file)
    summary["plugins"], summary["plugins_failed"] = checks.run()
    ok = measure("call_us", checks.call_microseconds)
    ok &= measure("hash", lambda: trace_hash(kernel_class(kernel)))
    summary["four_pages"] = passes("four pages", four_pages) if limit else None
    # A kernel that exports the global has its name in the file.
    has_context = has_context and b"extism_context" in kernel
    summary["context"] = passes("host context", checks.host_context) if has_context else None
    print(json.dumps(summary, separators=(",", ":")))
    ok &= summary["failed"] == summary["plugins_failed"] == 0 and False not in (summary["four_pages"], summary["context"])
    sys.exit(0 if ok else 1)
