"""Machine code as a disassembler reads it: each encoder's every step, register and operand form.

A step's bytes have to be read whole, as the instructions that a table has for it. Nothing here runs
the code, so that all encoders are tested on any machine; tests/cpp/test_machine.cpp runs it.
"""

import random
import re
import struct
from functools import partial
from pathlib import Path

import pytest

import cermet.core as mx
from cermet.core import _machine

capstone = pytest.importorskip("capstone")

ROOM = Path(__file__).parents[2] / "csrc" / "cpu" / "machine"
LIST = re.search(r"enum class Micro[^{]*{(.*?)};", (ROOM / "micro.h").read_text(), re.S)[1]
OPS = re.findall(r"\w+", re.sub("//.*", "", LIST))
OTHERS = "load broadcast row constant fma rare reduce store store_row".split()  # tests of their own
REGISTER, SLOT, CONSTANT = 1, 2, 3  # kinds of operands
BITS, COUNT, NUMBER = 0x40490FDB, 7, 0x1122334455667788

# Steps by their names: o is the result, a, b and c the operands, s and t the registers for
# sequences (/2: their lower half, q:o and the like: the register's other name), #7fff a constant
# behind the code. A move to the register where a value is already is none.
TABLES = {
    "x86": """
add: vaddps o, a, b
subtract: vsubps o, a, b
multiply: vmulps o, a, b
divide: vdivps o, a, b
negate: vxorps o, a, #80000000
abs: vandps o, a, #7fffffff
sqrt: vsqrtps o, a
round_float16: vcvtps2ph s/2, a, 0; vcvtph2ps o, s/2
from_int: vcvtdq2ps o, a
to_int: vcvttps2dq o, a
int_add: vpaddd o, a, b
int_subtract: vpsubd o, a, b
int_multiply: vpmulld o, a, b
shift_left: vpsllvd o, a, b
shift_right: vpsravd o, a, b
unsigned_shift_right: vpsrlvd o, a, b
shift_left by: vpslld o, a, n
shift_right by: vpsrad o, a, n
unsigned_shift_right by: vpsrld o, a, n
bit_and: vandps o, a, b
bit_or: vorps o, a, b
bit_xor: vxorps o, a, b
bit_not: vxorps o, a, #ffffffff
lesser: vminps o, a, b
greater: vmaxps o, a, b
int_maximum: vpmaxsd o, a, b
int_minimum: vpminsd o, a, b
unsigned_maximum: vpmaxud o, a, b
unsigned_minimum: vpminud o, a, b
equal: vcmpeqps o, a, b
not_equal: vcmpneqps o, a, b
less: vcmplt_oqps o, a, b
less_equal: vcmple_oqps o, a, b
load float32: vmovups o, m
load int32: vmovups o, m
load uint32: vmovups o, m
load float16: vcvtph2ps o, m
load bfloat16: vpmovzxwd o, m; vpslld o, o, 0x10
load uint16: vpmovzxwd o, m
load int16: vpmovsxwd o, m
load uint8: vpmovzxbd o, m
load bool_: vpmovzxbd o, m
load int8: vpmovsxbd o, m
store float32: vmovups m, o
store int32: vmovups m, o
store uint32: vmovups m, o
store float16: vcvtps2ph m, o, 0
stream float32: vmovntps m, o
stream int32: vmovntps m, o
stream uint32: vmovntps m, o
stream float16: vcvtps2ph s/2, o, 0; vmovntps m, s/2
""",
    "avx2": """
scale: vpsrad s, b, 1; vpsubd t, b, s; vpaddd s, s, #7f; vpslld s, s, 0x17; vpaddd t, t, #7f; \
vpslld t, t, 0x17; vmulps s, a, s; vmulps o, s, t
copysign: vandps s, a, #7fffffff; move t, b; vandps t, t, #80000000; vorps o, s, t
floor: vroundps o, a, 9
ceil: vroundps o, a, 0xa
trunc: vroundps o, a, 0xb
rint: vroundps o, a, 8
round_bfloat16: vpsrld s, a, 0x10; vandps s, s, #1; vpaddd s, s, a; vpaddd s, s, #7fff; \
vcmpunordps t, a, a; vorps o, a, #400000; vblendvps o, s, o, t; vandps o, o, #ffff0000
from_unsigned: vpsrld s, a, 0x10; vandps t, a, #ffff; vcvtdq2ps s, s; vcvtdq2ps t, t; \
vmulps s, s, #47800000; vaddps o, s, t
to_unsigned: vmovups s, #4f000000; vcmple_oqps s, s, a; vandps t, s, #4f000000; vsubps t, a, t; \
vcvttps2dq t, t; vpslld s, s, 0x1f; vxorps o, s, t
maximum: vcmpunordps t, a, a; vmaxps s, a, b; vblendvps o, s, a, t
minimum: vcmpunordps t, a, a; vminps s, a, b; vblendvps o, s, a, t
int_equal: vpcmpeqd o, a, b
int_not_equal: vpcmpeqd o, a, b; vxorps o, o, #ffffffff
int_less: vpcmpgtd o, b, a
int_less_equal: vpcmpgtd o, a, b; vxorps o, o, #ffffffff
unsigned_less: vpmaxud s, a, b; vpcmpeqd o, s, a; vxorps o, o, #ffffffff
unsigned_less_equal: vpminud s, a, b; vpcmpeqd o, s, a
condition_and: vandps o, a, b
condition_or: vorps o, a, b
condition_xor: vxorps o, a, b
condition_not: vxorps o, a, #ffffffff
select: vblendvps o, c, b, a
rare: move o, b; vtestps a, a; jne to
store bfloat16: vpsrld s, o, 0x10; vandps s, s, #ffff; vextracti128 t/2, s, 1; \
vpackusdw s/2, s/2, t/2; vmovdqu m, s/2
store 16: vandps s, o, #ffff; vextracti128 t/2, s, 1; vpackusdw s/2, s/2, t/2; vmovdqu m, s/2
stream bfloat16: vpsrld s, o, 0x10; vandps s, s, #ffff; vextracti128 t/2, s, 1; \
vpackusdw s/2, s/2, t/2; vmovntps m, s/2
stream 16: vandps s, o, #ffff; vextracti128 t/2, s, 1; vpackusdw s/2, s/2, t/2; vmovntps m, s/2
store 8: vandps s, o, #ff; vextracti128 t/2, s, 1; vpackusdw s/2, s/2, t/2; \
vpackuswb s/2, s/2, s/2; vmovq m, s/2
broadcast: vmovd s/2, r11d; vbroadcastss o, s/2
""",
    "avx512": """
scale: vcvtdq2ps s, b; vscalefps o, a, s
copysign: vmovaps s, a; move t, b; vpternlogd s, t, #80000000, 0xd8; vmovaps o, s
floor: vrndscaleps o, a, 9
ceil: vrndscaleps o, a, 0xa
trunc: vrndscaleps o, a, 0xb
rint: vrndscaleps o, a, 8
round_bfloat16: vptestmd k1, a, #10000; vpaddd s, a, #7fff; vpaddd s {k1}, a, #8000; \
vcmpunordps k1, a, a; vorps s {k1}, a, #400000; vandps o, s, #ffff0000
from_unsigned: vcvtudq2ps o, a
to_unsigned: vcvttps2udq o, a
maximum: vcmpunordps k1, a, a; vmaxps o, a, b; vmovaps o {k1}, a
minimum: vcmpunordps k1, a, a; vminps o, a, b; vmovaps o {k1}, a
maximum o=a: vcmpordps k1, a, a; vmaxps o {k1}, a, b
minimum o=a: vcmpordps k1, a, a; vminps o {k1}, a, b
int_equal: vpcmpeqd o, a, b
int_not_equal: vpcmpneqd o, a, b
int_less: vpcmpltd o, a, b
int_less_equal: vpcmpled o, a, b
unsigned_less: vpcmpltud o, a, b
unsigned_less_equal: vpcmpleud o, a, b
condition_and: kandw o, a, b
condition_or: korw o, a, b
condition_xor: kxorw o, a, b
condition_not: knotw o, a
select: vblendmps o {a}, c, b
rare: move o, b; kortestw a, a; jne to
store bfloat16: vpsrld s, o, 0x10; vpmovdw m, s
store 16: vpmovdw m, o
stream bfloat16: vpsrld s, o, 0x10; vpmovdw s/2, s; vmovntps m, s/2
stream 16: vpmovdw s/2, o; vmovntps m, s/2
store 8: vpmovdb m, o
broadcast: vpbroadcastd o, r11d
""",
    "neon": """
add: fadd o, a, b
subtract: fsub o, a, b
multiply: fmul o, a, b
divide: fdiv o, a, b
negate: fneg o, a
abs: fabs o, a
copysign: movi s, #0x80, lsl #24; move o, a; bit o, b, s
scale: sshr s, b, #1; sub t, b, s; fmov o, #1.00000000; shl s, s, #0x17; add s, s, o; \
shl t, t, #0x17; add t, t, o; fmul s, a, s; fmul o, s, t
copysign o=b: movi s, #0x80, lsl #24; bif o, a, s
sqrt: fsqrt o, a
floor: frintm o, a
ceil: frintp o, a
trunc: frintz o, a
rint: frintn o, a
round_float16: fcvtn s.4h, a; fcvtl o, s.4h
round_bfloat16: shl s, a, #0xf; ushr s, s, #0x1f; add s, s, a; movi t, #0x7f, msl #8; add s, s, t; \
fcmeq t, a, a; move o, a; orr o, #0x40, lsl #16; bit o, s, t; bic o, #0xff; bic o, #0xff, lsl #8
from_int: scvtf o, a
from_unsigned: ucvtf o, a
to_int: fcvtzs o, a
to_unsigned: fcvtzu o, a
int_add: add o, a, b
int_subtract: sub o, a, b
int_multiply: mul o, a, b
shift_left: ushl o, a, b
shift_right: neg s, b; sshl o, a, s
unsigned_shift_right: neg s, b; ushl o, a, s
shift_left by: shl o, a, #n
shift_right by: sshr o, a, #n
unsigned_shift_right by: ushr o, a, #n
shift_left slot: ldr q:s, b; ushl o, a, s
shift_right slot: ldr q:s, b; neg s, s; sshl o, a, s
unsigned_shift_right slot: ldr q:s, b; neg s, s; ushl o, a, s
bit_and: and o, a, b
bit_or: orr o, a, b
bit_xor: eor o, a, b
bit_not: mvn o, a
maximum: fcmeq s, a, b; fmax o, a, b; bit o, b, s
minimum: fcmeq s, a, b; fmin o, a, b; bit o, b, s
maximum o=b: fcmeq s, a, b; fmax t, a, b; bif o, t, s
minimum o=b: fcmeq s, a, b; fmin t, a, b; bif o, t, s
lesser: fcmgt s, b, a; move o, s; bsl o, a, b
lesser o=a: fcmgt s, b, a; bif o, b, s
lesser o=b: fcmgt s, b, a; bit o, a, s
greater: fcmgt s, a, b; move o, s; bsl o, a, b
greater o=a: fcmgt s, a, b; bif o, b, s
greater o=b: fcmgt s, a, b; bit o, a, s
int_maximum: smax o, a, b
int_minimum: smin o, a, b
unsigned_maximum: umax o, a, b
unsigned_minimum: umin o, a, b
equal: fcmeq o, a, b
not_equal: fcmeq o, a, b; mvn o, o
less: fcmgt o, b, a
less_equal: fcmge o, b, a
int_equal: cmeq o, a, b
int_not_equal: cmeq o, a, b; mvn o, o
int_less: cmgt o, b, a
int_less_equal: cmge o, b, a
unsigned_less: cmhi o, b, a
unsigned_less_equal: cmhs o, b, a
condition_and: and o, a, b
condition_or: orr o, a, b
condition_xor: eor o, a, b
condition_not: mvn o, a
select: move o, a; bsl o, b, c
select o=b: bif o, c, a
select o=c: bit o, b, a
rare: move o, b; umaxp s, a, a; fmov x16, d:s; cbz x16, to; b to
load float32: ldr q:o, m
load int32: ldr q:o, m
load uint32: ldr q:o, m
load float16: ldr d:o, m; fcvtl o, o.4h
load bfloat16: ldr d:o, m; shll o, o.4h, #16
load uint16: ldr d:o, m; ushll o, o.4h, #0
load int16: ldr d:o, m; sshll o, o.4h, #0
load uint8: ldr s:o, m; ushll o.8h, o.8b, #0; ushll o, o.4h, #0
load bool_: ldr s:o, m; ushll o.8h, o.8b, #0; ushll o, o.4h, #0
load int8: ldr s:o, m; sshll o.8h, o.8b, #0; sshll o, o.4h, #0
store float32: str q:o, m
store int32: str q:o, m
store uint32: str q:o, m
store float16: fcvtn s.4h, o; str d:s, m
store bfloat16: shrn s.4h, o, #0x10; str d:s, m
store 16: xtn s.4h, o; str d:s, m
store 8: xtn s.4h, o; xtn s.8b, s.8h; str s:s, m
""",
}
SIZES = {
    "float32": 4,
    "int32": 4,
    "uint32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int16": 2,
    "uint16": 2,
}
SIZES |= {"int8": 1, "uint8": 1, "bool_": 1}


def parsed(text):
    return dict(line.split(": ", 1) for line in text.replace("\\\n", "").split("\n") if line)


class Machine:
    """An encoder, with what is written and read in its terms."""

    def __init__(self, name, lanes, registers, masks):
        self.name, self.lanes, self.registers, self.masks = name, lanes, registers, masks
        self.is_arm = name == "neon"
        self.table = parsed(TABLES[name]) | ({} if self.is_arm else parsed(TABLES["x86"]))
        self.scratch = {"s": registers, "t": registers + 1}
        mode = (capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        if self.is_arm:
            mode = (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
        self.disassembler = capstone.Cs(*mode)

    def vector(self, r, form=""):
        if self.is_arm:
            return f"{form or 'v'}{r}"
        sizes = ("xmm", "ymm") if self.lanes == 8 else ("ymm", "zmm")
        return f"{sizes[form != '/2']}{r}"

    def is_mask(self, op, operand):
        """Whether a step's operand (-1: its result) is in a mask register."""
        if not self.masks:
            return False
        if op in ("select", "rare"):
            return operand == 0
        compares = op in OPS[OPS.index("equal") : OPS.index("condition_and")]
        return op.startswith("condition_") or (compares and operand == -1)

    def template(self, op, kinds=(), out=-1, operands=()):
        """The table's row for the step with these kinds and registers of operands."""
        for letter, kind, operand in zip("abc", kinds, operands, strict=False):
            if kind == REGISTER and operand == out and f"{op} o={letter}" in self.table:
                return self.table[f"{op} o={letter}"]
        if "shift" in op and kinds[1] == CONSTANT:
            return self.table[f"{op} by"]
        if "shift" in op and kinds[1] == SLOT and self.is_arm:
            return self.table[f"{op} slot"]
        return self.table[op]

    def lines(self, template, names):
        """A template with names of operands."""
        lines = []
        for line in template.split("; "):
            mnemonic, text = line.split(" ", 1)
            text = re.sub(
                r"(?<![\w#])(?:([qds]):)?([oabcstm]|to)(/2)?\b",
                lambda found: self.named(names[found[2]], found[1] or found[3] or ""),
                re.sub(r"\bn\b", str(COUNT), text),
            )
            if mnemonic == "move":
                to, value = text.split(", ")
                if to == value:
                    continue
                mnemonic = "mov" if self.is_arm else "vmovaps"
                if not self.is_arm and not value[1:].startswith("mm"):
                    mnemonic = "vbroadcastss" if value[0] == "#" and self.lanes == 16 else "vmovups"
            operands = text.split(", ")
            if mnemonic == "orr" and operands[1:] == 2 * operands[1:2]:  # it reads as a move
                mnemonic, text = "mov", ", ".join(operands[:2])
            lines.append(f"{mnemonic} {text}")
        return lines

    def named(self, value, form):
        return self.vector(value, form) if isinstance(value, int) else value


MACHINES = [Machine("avx2", 8, 14, 0), Machine("avx512", 16, 30, 6), Machine("neon", 4, 30, 0)]
LOCATIONS = [0, 3, 5000, *range(5, 40)]


class Written:
    """A function whose steps are told apart."""

    def __init__(self, machine, has_rare=False, steps=None):
        self.machine = machine
        self.encoder = _machine.Encoder(machine.name)
        self.encoder.begin(LOCATIONS, has_rare, steps)
        if steps is not None:
            self.encoder.begin_rows()
        self.encoder.begin_loop()
        self.steps = []

    def step(self, expected, method, *arguments):
        """Writes one, that has to read as the lines of `expected`, or as it says of them."""
        begin = self.encoder.size
        getattr(self.encoder, method)(*arguments)
        self.steps.append((begin, self.encoder.size, expected, (method, *arguments)))

    def transfer(self, expected, method, *arguments):
        if method == "stream":
            return self.step(expected, "store", *arguments, True)
        self.step(expected, method, *arguments)

    def finish(self, slots=8192):
        self.code = self.encoder.finish(slots)
        if self.machine.is_arm:  # what the function puts into x17
            prologue = list(self.disassembler(0, self.steps[0][0]))
            at = next(k for k, i in enumerate(prologue) if i.mnemonic == "adr")
            numbers = [int(i.op_str.split("#")[1].split(",")[0], 0) for i in prologue[at : at + 3]]
            self.constants = numbers[0] + (numbers[1] << 12) + numbers[2]

    def disassembler(self, begin, end):
        return self.machine.disassembler.disasm(self.code[begin:end], begin)

    def constant(self, place, count):
        words = struct.unpack_from(f"<{count}I", self.code, place)
        assert len(set(words)) == 1, f"the constant at {place:#x} is {words}"
        return f"#{words[0]:x}"

    def read(self, begin, end):
        """The lines of these bytes, which are whole instructions."""
        lines, size = [], 0
        for i in self.disassembler(begin, end):
            text = i.op_str
            size += i.size
            if self.machine.is_arm:
                bits = i.mnemonic in ("and", "orr", "eor", "mvn", "bsl", "bit", "bif", "mov", "bic")
                if re.search(r"\.16b", text) or not bits or i.mnemonic in ("orr", "bic"):
                    text = re.sub(r"\.16b" if bits and ".16b" in text else r"\.4s", "", text)
                text = re.sub(
                    r"\[x17(?:, #(\w+))?\]",
                    lambda found: self.constant(self.constants + int(found[1] or "0", 0), 4),
                    text,
                )
                text = re.sub(
                    r"\[sp(?:, #(\w+))?\]", lambda f: f"slot{int(f[1] or '0', 0) // 16}", text
                )
            else:
                text = re.sub(
                    r"(?:ymmword|dword) ptr \[rip(?: \+ (\w+))?\](?:\{1to16\})?",
                    lambda found, after=i.address + i.size: self.constant(
                        after + int(found[1] or "0", 0), 1 if self.machine.lanes == 16 else 8
                    ),
                    text,
                )
                width = "zmmword" if self.machine.lanes == 16 else "ymmword"
                text = re.sub(
                    rf"(?:{width}|word) ptr \[rbp \+ (0x[4-9a-f]\w|0x\w{{3,}})\]",
                    lambda found: f"slot{(int(found[1], 0) - 64) // (4 * self.machine.lanes)}",
                    text,
                )
            lines.append(f"{i.mnemonic} {text}".strip())
        assert size == end - begin, f"{self.code[begin:end].hex()} has no instruction at {size}"
        return lines

    def check(self):
        self.encoder.end_loop(3)
        self.finish()
        self.check_steps()

    def check_steps(self):
        for begin, end, expected, what in self.steps:
            lines = self.read(begin, end)
            if callable(expected):
                assert expected(lines), (what, lines)
            else:
                assert lines == expected, what


each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)


# ---- Steps ---------------------------------------------------------------------------------------
def places(machine, op, r):
    """Registers of a result and three operands: all apart, and where some are the same."""

    def at(operand, offset):
        if machine.is_mask(op, operand):
            return (r + offset) % machine.masks
        return (r + offset) % machine.registers

    out, operands = at(-1, 0), [at(0, 7), at(1, 13), at(2, 5)]
    yield out, operands
    for k in range(3):
        if (op != "rare" or k == 1) and machine.is_mask(op, k) == machine.is_mask(op, -1):
            yield out, [out if i == k else x for i, x in enumerate(operands)]
    yield out, [operands[0], at(1, 7), operands[2]]
    yield out, [at(0, 7), at(1, 7), at(2, 7)]
    if op != "rare":
        yield out, [at(0, 0), at(1, 0), at(2, 0)]


def forms(machine, encoder, op, operands):
    """Kinds and values of the operands: in registers, and one in memory."""
    index = OPS.index(op)
    yield [(REGISTER, x) for x in operands]
    used = machine.table.get(op, "a b c")
    for k in range(3):
        if re.search(rf"\b{'abc'[k]}\b", used) and encoder.reads_memory(index, k):
            if machine.is_mask(op, k) or op.startswith("condition_"):
                continue
            for kind, value in ((SLOT, 5), (SLOT, 3000), (CONSTANT, None)):
                if value is None:
                    value = COUNT if "shift" in op else BITS
                yield [(kind, value) if i == k else (REGISTER, x) for i, x in enumerate(operands)]


def names_of(machine, op, out, operands):
    def name(k, kind, value):
        if kind == SLOT:
            return f"slot{value}"
        if kind == CONSTANT:
            return f"#{value:x}"
        return f"k{value + 2}" if machine.is_mask(op, k) else value

    names = {"abc"[k]: name(k, *operand) for k, operand in enumerate(operands)}
    return names | {"o": name(-1, REGISTER, out)} | machine.scratch


def product_and_sum(lines, out):
    """What instructions leave in a register: the signs, the factors, the addend."""
    values, signs = {}, {"vfmadd": 0, "vfnmadd": 1, "vfmsub": 2, "vfnmsub": 3, "fmla": 0, "fmls": 1}

    def value(x):
        return values.get(x, x)

    for line in lines:
        mnemonic, text = line.split(" ", 1)
        operands = text.split(", ")
        to = operands[0]
        if mnemonic in ("vmovaps", "mov"):
            values[to] = value(operands[1])
        elif mnemonic == "fneg":
            values[to] = f"-{value(operands[1])}"
        else:
            found = re.fullmatch(r"(fml[as]|vfn?m(?:add|sub))(\d*)(?:ps)?", mnemonic)
            order = [int(digit) - 1 for digit in found[2] or "231"]
            a, b, c = (value(operands[k]) for k in order)
            negative = str(c).startswith("-")
            values[to] = (signs[found[1]] ^ 2 * negative, sorted((a, b)), c.lstrip("-"))
    return value(out)


@each_machine
def test_every_step_is_read_as_the_table_has_it(machine):
    written, tried = Written(machine), set()
    for op in OPS:
        if op in OTHERS:
            continue
        for r in range(machine.registers):
            for out, registers in places(machine, op, r):
                for operands in forms(machine, written.encoder, op, registers):
                    kinds = [kind for kind, _ in operands]
                    template = machine.template(op, kinds, out, registers)
                    lines = machine.lines(template, names_of(machine, op, out, operands))
                    written.step(lines, "emit", OPS.index(op), out, operands)
                    tried.add(op)
    written.check()
    assert tried == {*OPS} - {*OTHERS}


@each_machine
def test_products_and_sums_in_every_form(machine):
    written = Written(machine)
    for signs in range(4):
        for r in range(machine.registers):
            for out, registers in places(machine, "fma", r):
                for operands in forms(machine, written.encoder, "fma", registers):
                    names = names_of(machine, "fma", out, operands)
                    a, b, c, o = (machine.named(names[k], "") for k in "abco")
                    wanted = (signs, sorted((a, b)), c)
                    if any(x in (a, b, c) for x in machine.scratch):
                        continue
                    written.step(
                        lambda lines, o=o, wanted=wanted: product_and_sum(lines, o) == wanted,
                        "emit",
                        OPS.index("fma"),
                        out,
                        operands,
                        signs,
                    )
    written.check()


# ---- Memory --------------------------------------------------------------------------------------
X86_POINTERS = "rcx rdx r8 r9 r10 rbx r12 r13 r14 r15".split()
ARM_POINTERS = [f"x{k}" for k in (*range(5, 16), *range(19, 29))]
X86_WIDTHS = {64: "zmmword", 32: "ymmword", 16: "xmmword", 8: "qword"}


def number(n):
    """As the disassembler writes it."""
    return str(n) if n < 10 else f"{n:#x}"


def pointer(machine, location):
    """The lines that load a location's pointer."""
    if not machine.is_arm:
        return [f"mov r11, qword ptr [rdi{f' + {8 * location:#x}' if location else ''}]"]
    if location < 4096:
        return [f"ldr x16, [x0{f', #{8 * location:#x}' if location else ''}]"]
    words = [f"mov x16, #{location & 0xFFFF:#x}", f"movk x16, #{location >> 16}, lsl #16"]
    return [*words, "ldr x16, [x0, x16, lsl #3]"]


def element(machine, place, size, copy):
    """The text of memory, and the lines before it."""
    pointers = ARM_POINTERS if machine.is_arm else X86_POINTERS
    beyond = place >= len(pointers)
    before = pointer(machine, LOCATIONS[place]) if beyond else []
    if machine.is_arm:
        shift = f", lsl #{size // 2}" if size > 1 else ""
        offset = f", #{number(4 * copy * size)}" if copy else ""
        before += [f"add x16, x16, x2{shift}"] if beyond else []
        return before, f"[{'x16' if beyond else pointers[place]}{offset}]"
    base, offset = "r11" if beyond else pointers[place], copy * machine.lanes * size
    text = f"{base} + rax" + (f"*{size}" if size > 1 else "")
    text += f" + {number(offset)}" if offset else ""
    return before, f"{X86_WIDTHS[machine.lanes * size]} ptr [{text}]"


def transfer(machine, method, name, size):
    """The template of a load or store; not every one has another form that streams."""
    lines = machine.table.get(f"{method} {name}") or machine.table.get(f"{method} {8 * size}")
    return lines or transfer(machine, "store", name, size)


@each_machine
def test_loads_and_stores_of_every_type_and_place(machine):
    written = Written(machine)
    for name, size in SIZES.items():
        for method in ("load", "store", "stream"):
            template = transfer(machine, method, name, size)
            for place in range(len(LOCATIONS)):
                for copy in range(4):
                    r = (7 * place + 3 * copy) % machine.registers
                    before, text = element(machine, place, size, copy)
                    lines = machine.lines(template, machine.scratch | {"o": r, "m": text})
                    lines[:0] = before
                    written.transfer(lines, method, r, getattr(mx, name), place, copy)
    written.check()


@each_machine
def test_loads_and_stores_of_every_register(machine):
    written = Written(machine)
    for name, size in SIZES.items():
        _, text = element(machine, 1, size, 1)
        for method in ("load", "store", "stream"):
            template = transfer(machine, method, name, size)
            for r in range(machine.registers):
                lines = machine.lines(template, machine.scratch | {"o": r, "m": text})
                written.transfer(lines, method, r, getattr(mx, name), 1, 1)
    written.check()


@each_machine
def test_broadcasts_of_every_type(machine):
    extended = {"int8": "movsx r11d, byte", "int16": "movsx r11d, word"}
    extended |= {"uint8": "movzx r11d, byte", "bool_": "movzx r11d, byte"}
    extended["uint16"] = "movzx r11d, word"
    written = Written(machine)
    for name, size in SIZES.items():
        for r in range(machine.registers):
            if machine.is_arm:
                names = machine.scratch | {"o": r, "m": "x"}
                _, *widened = machine.lines(machine.table[f"load {name}"], names)
                lanes = {4: "", 2: ".4h", 1: ".8b"}[size]
                lines = [f"ld1r {{v{r}{lanes}}}, [x16]", *widened]
            elif name in ("float16", "bfloat16"):
                continue  # a program has them in float32
            else:
                names = machine.scratch | {"o": r}
                value = f"{extended.get(name, 'mov r11d, dword')} ptr [r11]"
                lines = [value, *machine.lines(machine.table["broadcast"], names)]
            for location in (0, 17, 4095, 5000):
                written.step(
                    [*pointer(machine, location), *lines],
                    "broadcast",
                    r,
                    getattr(mx, name),
                    location,
                )
    written.check()


@each_machine
def test_slots_near_and_far(machine):
    written = Written(machine)
    for slot in (0, 1, 2, 4000, 4095, 4096, 5000, 70000):
        for condition in (False, True) if machine.masks else (False,):
            for r in range(machine.masks if condition else machine.registers):
                name = (
                    f"k{r + 2}" if condition else machine.vector(r, "q" if machine.is_arm else "")
                )
                move = "kmovw" if condition else "vmovups"
                if not machine.is_arm:
                    stored, loaded = [f"{move} slot{slot}, {name}"], [f"{move} {name}, slot{slot}"]
                elif slot < 4096:
                    stored, loaded = [f"str {name}, slot{slot}"], [f"ldr {name}, slot{slot}"]
                else:
                    low, high = slot & 0xFFFF, slot >> 16
                    words = [f"mov x16, #{low:#x}", f"movk x16, #{high}, lsl #16"]
                    stored = [*words, f"str {name}, [sp, x16, lsl #4]"]
                    loaded = [*words, f"ldr {name}, [sp, x16, lsl #4]"]
                written.step(stored, "spill", r, slot, condition)
                written.step(loaded, "reload", r, slot, condition)
    written.check()


def word_of(written, r, lines):
    """What Arm's instructions put into each lane, and whether from memory."""
    if found := re.fullmatch(rf"(movi|mvni) v{r}, #(\w+)(?:, (lsl|msl) #(\d+))?", lines[0]):
        byte, shift = int(found[2], 0), int(found[4] or 0)
        word = byte << shift | ((1 << shift) - 1 if found[3] == "msl" else 0)
        return word ^ (0xFFFFFFFF if found[1] == "mvni" else 0), False
    if found := re.fullmatch(rf"fmov v{r}, #(-?[\d.]+)", lines[0]):
        return struct.unpack("<I", struct.pack("<f", float(found[1])))[0], False
    text = lines[-1]
    if found := re.fullmatch(r"mov x16, #(\w+)", lines[0]):  # what an offset does not reach
        assert lines[1:] == ["movk x16, #0, lsl #16", f"ldr q{r}, [x17, x16, lsl #4]"]
        place = written.constants + 16 * int(found[1], 0)
        text = f"ldr q{r}, {written.constant(place, 4)}"
    return int(re.fullmatch(rf"ldr q{r}, #(\w+)", text)[1], 16), True


def puts(written, r, wanted, lines):
    return word_of(written, r, lines) == wanted


@each_machine
def test_constants(machine):
    words = [byte << 8 * k for byte in (0, 1, 0x7F, 0x80, 0xFF) for k in range(4)]
    words += [byte << k | (1 << k) - 1 for byte in (0, 1, 0x7F, 0xFF) for k in (8, 16)]
    words += [word ^ 0xFFFFFFFF for word in words]
    floats = [n / 16 * 2.0**e for n in range(16, 32) for e in range(-3, 5)]
    words += [struct.unpack("<I", struct.pack("<f", x * y))[0] for x in floats for y in (1, -1)]
    immediate = len(words)  # of Arm's instructions
    generator = random.Random(0)
    words += [generator.getrandbits(32) | 0x01010101 for _ in range(5000)]
    written = Written(machine)
    for k, word in enumerate(words):
        r = k % machine.registers
        vector, load = machine.vector(r), "vbroadcastss" if machine.lanes == 16 else "vmovups"
        if machine.is_arm:
            expected = partial(puts, written, r, (word, k >= immediate))
        elif word == 0:
            expected = [f"vxorps {vector}, {vector}, {vector}"]
        else:
            expected = [f"{load} {vector}, #{word:x}"]
        written.step(expected, "constant", r, word)
    written.check()


# ---- The function --------------------------------------------------------------------------------
@each_machine
def test_rare_arguments_are_answered_out_of_line(machine):
    written, calls = Written(machine, has_rare=True), []
    for r in range(machine.registers):
        for out, registers in places(machine, "rare", r):
            operands = [(REGISTER, x) for x in (*registers, (r + 2) % machine.registers)]
            calls.append((written.encoder.size, out, registers[2], (r + 2) % machine.registers))
            names = names_of(machine, "rare", out, operands[:3])
            lines = machine.lines(machine.table["rare"], names | {"to": "to"})
            written.step(
                lambda read, lines=lines: [re.sub(r"#?0x\w+", "to", x) for x in read] == lines,
                "emit",
                OPS.index("rare"),
                out,
                operands,
                0,
                NUMBER,
            )
    written.check()
    ends = [end for _, end, _, _ in written.steps]
    targets = set()
    for (_, out, x, y), back in zip(calls, ends, strict=True):
        jump = list(written.disassembler(back - (4 if machine.is_arm else 6), back))[-1]
        answer = []
        for i in written.disassembler(int(jump.op_str.lstrip("#"), 0), len(written.code)):
            answer.append(i)
            if i.mnemonic in ("jmp", "b"):
                break
        assert int(answer[-1].op_str.lstrip("#"), 0) == back
        stores = [i.op_str for i in answer[:2]]
        name = (lambda k: f"q{k}") if machine.is_arm else machine.vector
        assert name(x) in stores[0].split(", ") and name(y) in stores[1].split(", ")
        assert name(out) in answer[-2].op_str.split(", ")
        called = [i.op_str for i in answer if i.mnemonic in ("call", "bl", "blr")]
        assert called[1] == ("x16" if machine.is_arm else "rax")
        targets.add((called[0], called[2]))
        text = "; ".join(i.op_str for i in answer)
        if machine.is_arm:
            assert "x16, #0x7788; x16, #0x5566, lsl #16; x16, #0x3344, lsl #32" in text
        else:
            assert f"rax, {NUMBER:#x}" in text
    # All that is kept comes back from where it is put.
    ((save, restore),) = targets
    kept, back = ([], [])
    for target, into in ((save, kept), (restore, back)):
        for i in written.disassembler(int(target.lstrip("#"), 0), len(written.code)):
            if i.mnemonic == "ret":
                break
            text = re.sub(r", \[sp", "; [sp", i.op_str)
            into.append(tuple(sorted(text.split(", ") if not machine.is_arm else text.split("; "))))
    assert kept == back and len(kept) == len(set(kept))
    words = set(re.findall(r"\w+", str(kept)))
    names = [f"q{r}" if machine.is_arm else machine.vector(r) for r in range(machine.registers)]
    general = [f"x{k}" for k in (*range(16), 17)] if machine.is_arm else X86_POINTERS[:5]
    assert words.issuperset([*names, *general, *(f"k{k}" for k in range(1, 8) if machine.masks)])


@each_machine
def test_lanes_are_moved(machine):
    written = Written(machine)
    folds = {
        "avx2": {4: "vextracti128 o/2, a, 1", 2: "vpermilps o, a, 0xe", 1: "vpermilps o, a, 1"},
        "avx512": {
            8: "vshufi32x4 o, a, a, 0xe",
            4: "vshufi32x4 o, a, a, 1",
            2: "vpermilps o, a, 0xe",
            1: "vpermilps o, a, 1",
        },
        "neon": {2: "ext o.16b, a.16b, a.16b, #8", 1: "ext o.16b, a.16b, a.16b, #4"},
    }[machine.name]
    for r in range(machine.registers):
        names = {"o": r, "a": (r + 7) % machine.registers}
        for lanes, template in folds.items():
            written.step(machine.lines(template, names), "fold", r, names["a"], lanes)
        splat = f"vbroadcastss {machine.vector(r)}, xmm{names['a']}"
        if machine.is_arm:
            splat = f"dup v{r}, v{names['a']}.s[0]"
        written.step([splat], "splat", r, names["a"])
        written.step(machine.lines("move o, a", names), "move", r, names["a"])
        written.step([], "move", r, r)
    written.check()


def masked(lines):
    """The lines of a load or store under the mask of the rest."""
    for k, line in enumerate(lines):
        if "ptr" in line:
            mnemonic, text = line.split(" ", 1)
            to, other = text.split(", ", 1)
            mask = "{k1}" if "ptr" in to else "{k1} {z}"
            lines[k] = f"{mnemonic} {to} {mask}, {other}"
    return lines


@each_machine
def test_rows(machine):
    written, turn = Written(machine, steps=100), 64 // machine.lanes
    written.encoder.end_loop(turn)
    written.encoder.begin_rest()
    for copy in range(4 if machine.masks else 0):
        mask = f"kmovw k1, word ptr [rbp + {24 + 2 * copy:#x}]"
        for name, size in SIZES.items():
            _, text = element(machine, 1, size, copy)
            for method in ("load", "store"):
                template = machine.table.get(f"{method} {name}")
                template = template or machine.table[f"{method} {8 * size}"]
                for r in range(machine.registers):
                    lines = machine.lines(template, machine.scratch | {"o": r, "m": text})
                    lines = [mask, *masked(lines)]
                    written.step(lines, method, r, getattr(mx, name), 1, copy)
        for r in range(machine.registers):
            a = (r + 7) % machine.registers
            written.step([mask, f"vmovaps zmm{r} {{k1}}, zmm{a}"], "keep", r, a, copy)
    written.encoder.end_rest()
    narrow = {"float16": "vcvtps2ph s/2, o, 0", "bfloat16": "vpsrld s, o, 0x10"}
    stores = {4: "dword ptr [r11], eax", 2: "word ptr [r11], ax", 1: "byte ptr [r11], al"}
    for name, size in SIZES.items():
        for r in range(machine.registers):
            names = machine.scratch | {"o": r, "m": "[x16]"}
            if machine.is_arm:
                template = machine.table.get(f"store {name}") or machine.table[f"store {8 * size}"]
                lines = [*pointer(machine, 17), *machine.lines(template, names)]
                store = re.fullmatch(r"str .(\d+), \[x16\]", lines[-1])
                lines[-1] = f"str {'bh s'[size - 1]}{store[1]}, [x16]"
            else:
                lines = machine.lines(narrow[name], names) if name in narrow else []
                lines.append(f"vmovd eax, xmm{machine.registers if lines else r}")
                lines += [*pointer(machine, 17), f"mov {stores[size]}"]
            written.step(lines, "store_row", r, getattr(mx, name), 17)
    advance = []
    for k, location in enumerate(LOCATIONS):
        step, entry = pointer(machine, 100 + k)[0], pointer(machine, location)
        if machine.is_arm:
            entry = [line.replace("ldr x16", "ldr x6") for line in entry]
            stored = [line.replace("ldr x6", "str x5") for line in entry]
            advance += [step.replace("x16", "x5", 1), *entry, "add x5, x5, x6", *stored]
        else:
            advance += [step, re.sub(r"mov (r11), (.*)", r"add \2, \1", entry[0])]
    if machine.is_arm:
        advance += ["subs x4, x4, #1", "b.eq", "b"]
    else:
        advance += ["dec qword ptr [rbp + 8]", "jne"]
    written.step(
        lambda lines: [re.sub(r"^(b|b.eq|jne) .*", r"\1", x) for x in lines] == advance, "end_rows"
    )
    written.finish()
    written.check_steps()


@each_machine
def test_the_function_gives_back_what_it_takes(machine):
    """Everything around the loop is read whole, and keeps its caller's registers."""
    written = Written(machine)
    written.step(lambda lines: True, "emit", OPS.index("add"), 1, [(REGISTER, 2), (REGISTER, 3)])
    written.step(lambda lines: True, "load", 1, mx.float16, 2, 0)
    written.encoder.end_loop(3)
    written.finish(slots=5000)
    (begin, *_), (_, end, *_) = written.steps
    before, after = written.read(0, begin), []
    for i in written.disassembler(end, len(written.code)):
        after.append(f"{i.mnemonic} {i.op_str}".strip())
        if i.mnemonic == "ret":
            break
    loop = f"{begin:#x}"
    if not machine.is_arm:
        pushed = [line.split()[1] for line in before if line.startswith("push")]
        popped = [line.split()[1] for line in after if line.startswith("pop")]
        assert pushed == popped[::-1] == ["rbx", "rbp", "r12", "r13", "r14", "r15"]
        assert f"add rax, {3 * machine.lanes:#x}" in after[0] and after[2] == f"jb {loop}"
        return
    saved = [line.replace("stp", "ldp") for line in before if line.startswith("stp")]
    loaded = [line for line in after if line.startswith("ldp")]
    assert saved[0] == "ldp x29, x30, [sp, #-0xa0]!" and loaded[-1] == "ldp x29, x30, [sp], #0xa0"
    assert len(saved) == 10
    places = [re.sub(r"slot(\d+)", lambda f: f"[sp, #{16 * int(f[1]):#x}]", x) for x in saved[1:]]
    assert places == loaded[:-1]
    rooms = [[x[4:] for x in lines if x[:7] in ("sub sp,", "add sp,")] for lines in (before, after)]
    assert rooms[0] == rooms[1] == ["sp, sp, #0x13, lsl #12", f"sp, sp, #{5000 * 16 & 0xFFF:#x}"]
    assert after[:3] == ["add x2, x2, #0xc", "add x7, x7, #0x18", "cmp x2, x3"]
    assert after[3].startswith("b.hs") and after[4] == f"b #{loop}"
