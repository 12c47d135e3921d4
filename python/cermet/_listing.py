"""Machine code in the text of `explain`: disassembled if capstone is installed, else bytes."""

import platform
from collections.abc import Iterator


def readable(text: str) -> str:
    lines: list[str] = []
    is_code = False
    for line in text.splitlines(keepends=True):
        lines += instructions(bytes.fromhex(line.strip())) if is_code else [line]
        is_code = line.startswith("  machine code: ") and not line.endswith("none\n")
    return "".join(lines)


def instructions(code: bytes) -> Iterator[str]:
    try:
        import capstone
    except ImportError:
        for i in range(0, len(code), 16):
            yield f"    {i:5x}: {code[i : i + 16].hex(' ')}\n"
        return
    if platform.machine() in ("aarch64", "arm64"):
        disassembler = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    else:
        disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    disassembler.skipdata = True  # constants stand behind the code
    for address, _, name, operands in disassembler.disasm_lite(code, 0):
        yield f"    {address:5x}: {name} {operands}".rstrip() + "\n"
