"""Reads a WebAssembly module into structured instructions, each with the place of its bytes in the file.

As much of the format as a kernel needs: one memory, no tables, numbers and one externref. Whatever is not known is refused, so
nothing is skipped that could matter.
"""

from dataclasses import dataclass, field

I32, I64, EXTERNREF = 0x7F, 0x7E, 0x6F
NOTHING = 0x40

BLOCK, LOOP, IF, ELSE, END = 0x02, 0x03, 0x04, 0x05, 0x0B

# Instructions without operands of their own, by opcode.
PLAIN = {0x00: "unreachable", 0x01: "nop", 0x0F: "return", 0x1A: "drop", 0x1B: "select"}
_COMPARE = "eqz eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u".split()
_COMPUTE = "clz ctz popcnt add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr".split()
PLAIN |= {0x45 + i: f"i32.{name}" for i, name in enumerate(_COMPARE)}
PLAIN |= {0x50 + i: f"i64.{name}" for i, name in enumerate(_COMPARE)}
PLAIN |= {0x67 + i: f"i32.{name}" for i, name in enumerate(_COMPUTE)}
PLAIN |= {0x79 + i: f"i64.{name}" for i, name in enumerate(_COMPUTE)}
PLAIN |= {0xA7: "i32.wrap_i64", 0xAC: "i64.extend_i32_s", 0xAD: "i64.extend_i32_u"}
PLAIN |= {0xC0: "i32.extend8_s", 0xC1: "i32.extend16_s", 0xC2: "i64.extend8_s", 0xC3: "i64.extend16_s", 0xC4: "i64.extend32_s"}

# Instructions with one index, by opcode: a label, function, local or global.
INDEXED = {0x0C: "br", 0x0D: "br_if", 0x10: "call", 0x20: "local.get", 0x21: "local.set", 0x22: "local.tee", 0x23: "global.get", 0x24: "global.set"}

# Loads and stores: type, bytes of memory, and whether a load extends the sign.
MEMORY = {
    0x28: ("i32.load", I32, 4, False), 0x29: ("i64.load", I64, 8, False),
    0x2C: ("i32.load8_s", I32, 1, True), 0x2D: ("i32.load8_u", I32, 1, False),
    0x2E: ("i32.load16_s", I32, 2, True), 0x2F: ("i32.load16_u", I32, 2, False),
    0x30: ("i64.load8_s", I64, 1, True), 0x31: ("i64.load8_u", I64, 1, False),
    0x32: ("i64.load16_s", I64, 2, True), 0x33: ("i64.load16_u", I64, 2, False),
    0x34: ("i64.load32_s", I64, 4, True), 0x35: ("i64.load32_u", I64, 4, False),
    0x36: ("i32.store", I32, 4, False), 0x37: ("i64.store", I64, 8, False),
    0x3A: ("i32.store8", I32, 1, False), 0x3B: ("i32.store16", I32, 2, False),
    0x3C: ("i64.store8", I64, 1, False), 0x3D: ("i64.store16", I64, 2, False), 0x3E: ("i64.store32", I64, 4, False),
}  # fmt: skip


class Unsupported(Exception):
    """The file holds something that no kernel has any use for."""


@dataclass
class Instruction:
    """One instruction; `at..end` are its bytes in the file, without the bodies of a block."""

    name: str
    at: int
    end: int = 0
    opcode: int = 0
    index: int = 0  # of a label, function, local or global; the offset of a load or store
    value: int = 0  # of a constant, as it is written: signed
    labels: list = field(default_factory=list)  # of br_table, the default last
    results: tuple = ()  # of a block
    body: list = field(default_factory=list)
    orelse: list = field(default_factory=list)


@dataclass
class Function:
    index: int
    parameters: tuple
    results: tuple
    locals: tuple = ()
    body: list = field(default_factory=list)
    flat: list = field(default_factory=list)  # all instructions, in the order of the file
    name: str = ""  # of its first export


@dataclass
class Global:
    type: int
    mutable: bool
    start: int | None  # None: a null reference


@dataclass
class Module:
    bytes: bytes
    functions: list = field(default_factory=list)
    globals: list = field(default_factory=list)
    exports: dict = field(default_factory=dict)  # name: (kind, index)
    pages: int = 0
    most_pages: int = 65536
    data: list = field(default_factory=list)  # (address, bytes)

    def function(self, name):
        """The function exported under that name."""
        kind, index = self.exports[name]
        assert kind == 0, f"{name} is no function"
        return self.functions[index]


class _Reader:
    def __init__(self, data, at=0, end=None):
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def byte(self):
        if self.at >= self.end:
            raise Unsupported("the file ends too early")
        self.at += 1
        return self.data[self.at - 1]

    def unsigned(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def signed(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value - (1 << shift) if byte & 0x40 else value

    def take(self, count):
        start, self.at = self.at, self.at + count
        if self.at > self.end:
            raise Unsupported("the file ends too early")
        return self.data[start : self.at]

    def vector(self, read):
        return [read() for _ in range(self.unsigned())]

    def type(self):
        byte = self.byte()
        if byte not in (I32, I64, EXTERNREF):
            raise Unsupported(f"type {byte:#x}")
        return byte


def read(data):
    """The module in these bytes."""
    if data[:8] != b"\0asm\1\0\0\0":
        raise Unsupported("not a WebAssembly module")
    module, types, declared = Module(data), [], []
    file = _Reader(data, 8)
    while file.at < file.end:
        section, size = file.byte(), file.unsigned()
        part = _Reader(data, file.at, file.at + size)
        file.at += size
        if section == 1:
            for _ in range(part.unsigned()):
                if part.byte() != 0x60:
                    raise Unsupported("a type that is no function's")
                types.append((tuple(part.vector(part.type)), tuple(part.vector(part.type))))
        elif section == 3:
            declared = [types[index] for index in part.vector(part.unsigned)]
        elif section == 5:
            if part.unsigned() != 1:
                raise Unsupported("not exactly one memory")
            limited, module.pages = part.byte(), part.unsigned()
            if limited not in (0, 1):
                raise Unsupported("a memory of another kind")
            if limited:
                module.most_pages = part.unsigned()
        elif section == 6:
            for _ in range(part.unsigned()):
                kind, mutable = part.type(), part.byte() == 1
                module.globals.append(Global(kind, mutable, _constant(part, kind)))
        elif section == 7:
            for _ in range(part.unsigned()):
                name = part.take(part.unsigned()).decode()
                module.exports[name] = (part.byte(), part.unsigned())
        elif section == 10:
            count = part.unsigned()
            for index in range(count):
                end = part.unsigned() + part.at
                module.functions.append(_function(_Reader(data, part.at, end), index, *declared[index]))
                part.at = end
        elif section == 11:
            for _ in range(part.unsigned()):
                if part.unsigned() != 0:
                    raise Unsupported("data that isn't put into the memory at the start")
                address = _constant(part, I32)
                module.data.append((address, part.take(part.unsigned())))
        elif section == 4:
            pass  # a table: no instruction that uses one is known
        elif section != 0 and section != 12:
            raise Unsupported(f"section {section}")
    for name, (kind, index) in module.exports.items():
        if kind == 0 and not module.functions[index].name:
            module.functions[index].name = name
    return module


def _constant(part, kind):
    opcode = part.byte()
    if opcode == 0xD0 and kind == EXTERNREF:
        part.byte()
        value = None
    elif (opcode, kind) in ((0x41, I32), (0x42, I64)):
        value = part.signed()
    else:
        raise Unsupported(f"initial value with opcode {opcode:#x}")
    if part.byte() != END:
        raise Unsupported("an initial value of several instructions")
    return value


def _function(code, index, parameters, results):
    function = Function(index, parameters, results)
    kinds = []
    for _ in range(code.unsigned()):
        count = code.unsigned()
        kinds += [code.type()] * count
    function.locals = tuple(kinds)
    function.body, end = _body(code, function.flat)
    if end != END or code.at != code.end:
        raise Unsupported(f"the code of function {index} doesn't end where it says")
    return function


def _body(code, flat):
    """The instructions up to END or ELSE, and which of these it was."""
    body = []
    while True:
        at, opcode = code.at, code.byte()
        if opcode in (END, ELSE):
            return body, opcode
        one = Instruction("", at, opcode=opcode)
        body.append(one)
        flat.append(one)
        if opcode in (BLOCK, LOOP, IF):
            one.name = {BLOCK: "block", LOOP: "loop", IF: "if"}[opcode]
            kind = code.byte()
            if kind not in (NOTHING, I32, I64):
                raise Unsupported("a block with parameters")
            one.results = () if kind == NOTHING else (kind,)
            one.end = code.at
            one.body, end = _body(code, flat)
            if end == ELSE:
                one.orelse, end = _body(code, flat)
            if end != END:
                raise Unsupported("two else")
            continue
        if opcode in PLAIN:
            one.name = PLAIN[opcode]
        elif opcode in INDEXED:
            one.name, one.index = INDEXED[opcode], code.unsigned()
        elif opcode in MEMORY:
            one.name = MEMORY[opcode][0]
            code.unsigned()  # the alignment is a hint only
            one.index = code.unsigned()
        elif opcode in (0x41, 0x42):
            one.name, one.value = ("i32.const", "i64.const")[opcode - 0x41], code.signed()
        elif opcode == 0x0E:
            one.name, one.labels = "br_table", code.vector(code.unsigned)
            one.labels.append(code.unsigned())
        elif opcode in (0x3F, 0x40):
            one.name = ("memory.size", "memory.grow")[opcode - 0x3F]
            code.byte()
        elif opcode == 0xFC:
            kind = code.unsigned()
            if kind not in (10, 11):
                raise Unsupported(f"opcode 0xfc {kind}")
            one.name = ("memory.copy", "memory.fill")[kind - 10]
            code.take(2 if kind == 10 else 1)
        else:
            raise Unsupported(f"opcode {opcode:#x} at {at:#x}")
        one.end = code.at


def text(function, body=None, indent="  "):
    """A listing to read, one instruction a line."""
    lines = []
    if body is None:
        body = function.body
        lines.append(f"func {function.index} {function.name} parameters={len(function.parameters)} locals={len(function.locals)}")
    for one in body:
        detail = f" {one.index}" if one.opcode in INDEXED or one.opcode in MEMORY else ""
        detail += f" {one.value}" if one.name.endswith("const") else ""
        lines.append(f"{one.at:#06x}{indent}{one.name}{detail}{one.labels or ''}")
        if one.opcode in (BLOCK, LOOP, IF):
            lines.append(text(function, one.body, indent + "  "))
            if one.orelse:
                lines += [f"{'':6}{indent}else", text(function, one.orelse, indent + "  ")]
    return "\n".join(line for line in lines if line)
