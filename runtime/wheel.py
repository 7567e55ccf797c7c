#!/usr/bin/env python3
"""Makes the Python package `extism_sys` of a built libextism.so, laid out as the released one. With it, the released SDK runs on
this library.

    python3 runtime/wheel.py LIBEXTISM.SO [FOLDER]

Writes the wheel to FOLDER, or here, and prints its name. Needs cffi, which writes down what the header declares.

maturin makes the same of the crate, but only by building Wasmtime once more, with other options: that isn't the library that was
tested and is installed.
"""

import base64
import hashlib
import re
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
MACHINES = {62: "x86_64", 183: "aarch64"}

INIT = """\
__all__ = ["lib", "ffi"]

import os
from .ffi import ffi

lib = ffi.dlopen(os.path.join(os.path.dirname(__file__), "libextism_sys.so"))
del os
"""

METADATA = """\
Metadata-Version: 2.4
Name: extism-sys
Version: {version}
Summary: libextism on the Extism kernel, for Extism's Python SDK
License-Expression: BSD-3-Clause
License-File: LICENSE
License-File: THIRD-PARTY-LICENSES
Requires-Python: >=3.7
Requires-Dist: cffi
"""

WHEEL = """\
Wheel-Version: 1.0
Generator: wheel.py
Root-Is-Purelib: false
Tag: {tag}
"""


# As the released package has them: to cffi, a pointer to `unsigned char` isn't one to a `uint8_t` of its own.
INTEGERS = """\
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long int64_t; typedef long intptr_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t; typedef unsigned long uint64_t;
typedef unsigned long uintptr_t;
"""


def tag(library: bytes) -> str:
    """Which systems can load it: Linux with glibc of at least the version that it asks for."""
    machine = MACHINES.get(int.from_bytes(library[18:20], "little"))
    if library[:6] != b"\x7fELF\x02\x01" or machine is None:
        sys.exit("wheel.py: this isn't a shared library of Linux on " + " or ".join(MACHINES.values()))
    versions = [(int(major), int(minor)) for major, minor in re.findall(rb"\0GLIBC_(\d+)\.(\d+)", library)]
    if not versions:
        sys.exit("wheel.py: this library isn't linked with glibc")
    return "py3-none-manylinux_{}_{}_{}".format(*max(versions), machine)


def declarations() -> bytes:
    """The module that tells cffi what the header does."""
    try:
        from cffi import FFI, recompiler
    except ImportError:
        sys.exit("wheel.py: cffi is missing: run 'python3 -m pip install cffi'")
    header = (ROOT / "include/extism.h").read_text()
    # What is for compilers only: C++'s frame, and all other directives.
    header = re.sub(r"^#ifdef __cplusplus\n.*?^#endif.*?\n", "", header, flags=re.MULTILINE | re.DOTALL)
    header = re.sub(r"^#(.*\\\n)*.*\n", "", header, flags=re.MULTILINE)
    ffi = FFI()
    ffi.cdef(INTEGERS + header)
    ffi.set_source("ffi", None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "ffi.py")
        recompiler.make_py_source(ffi, "ffi", str(file))
        return file.read_bytes()


def main() -> None:
    if not 2 <= len(sys.argv) <= 3 or sys.argv[1].startswith("-"):
        print("usage: python3 runtime/wheel.py LIBEXTISM.SO [FOLDER]", file=sys.stderr)
        sys.exit(2)
    try:
        library = Path(sys.argv[1]).read_bytes()
    except OSError as error:
        sys.exit(f"wheel.py: {error}")
    folder = Path(sys.argv[2] if len(sys.argv) == 3 else ".")
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    name = f"extism_sys-{version}"
    info = f"{name}.dist-info"
    files = {
        "extism_sys/__init__.py": INIT.encode(),
        "extism_sys/ffi.py": declarations(),
        "extism_sys/libextism_sys.so": library,
        f"{info}/METADATA": METADATA.format(version=version).encode(),
        f"{info}/WHEEL": WHEEL.format(tag=tag(library)).encode(),
        f"{info}/licenses/LICENSE": (ROOT.parent / "LICENSE").read_bytes(),
        f"{info}/licenses/THIRD-PARTY-LICENSES": (ROOT / "THIRD-PARTY-LICENSES").read_bytes(),
    }
    record = ""
    for file, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        record += f"{file},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()

    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{tag(library)}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in files.items():
            # With the same date always, so that the same library makes the same file.
            entry = zipfile.ZipInfo(file, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if file.endswith(".so") else 0o100644) << 16
            archive.writestr(entry, content)
    print(wheel)


if __name__ == "__main__":
    main()
