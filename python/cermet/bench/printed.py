"""Prints an elementwise row program as C++ over the functions of csrc/ops, and compiles it.

So a compiler says what a program could take, with every bit that Cermet gives: the peer `cpp`. The
program is read from the text of `cermet.core.explain`; it must be one step without reductions, over
arrays of one shape and single elements.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FLAGS = "-std=c++20 -O3 -march=native -pthread -fPIC -shared -Wno-psabi"
FLAGS += " -ffp-contract=off -fno-math-errno -fno-trapping-math"  # what gives the same bits
WIDTHS = (256, 512)  # of vectors, in bits: which is faster depends on the program
CHUNK = 1024  # elements of which rare ones are looked for together
PIECE = 16_384  # elements that a thread computes at once

# The types in memory and in registers.
TYPES = {
    "float32": ("float", "f32"),
    "float16": ("float16_t", "f32"),
    "bfloat16": ("bfloat16_t", "f32"),
    "bool": ("bool", "b32"),
    **{f"{u}int{n}": (f"std::{u}int{n}_t",) * 2 for u in ("", "u") for n in (8, 16, 32, 64)},
}
HALVES = ("float16", "bfloat16")  # computed as float32, each operation rounded

_HEAD = """\
#include <condition_variable>
#include <mutex>
#include <thread>
#include "cpu/convert.h"
namespace cermet::cpu::plain {
namespace {
template <class To, class From>
inline To to(From x) {
  if constexpr (std::is_same_v<To, b32>)
    return x != From(0);
  else if constexpr (std::is_same_v<From, f32> && std::is_integral_v<To>)
    return truncated<To>(x);
  else
    return static_cast<To>(x);
}
inline f32 rounded_bfloat16(f32 x) { return widen_bfloat16(narrow_bfloat16(x)); }
#if defined(__AVX512F__) && !defined(__clang__)
// GCC finds the vectors' instructions by these names.
extern "C" {
[[gnu::simd("notinbranch"), gnu::const, gnu::visibility("hidden")]] f32 rounded_float16(f32);
[[gnu::visibility("hidden")]] __m512 _ZGVeN16v_rounded_float16(__m512 x) {
  const __m256i h = _mm512_maskz_cvtps_ph(kAllLanes, x, _MM_FROUND_TO_NEAREST_INT);
  return _mm512_maskz_cvtph_ps(kAllLanes, h);
}
[[gnu::visibility("hidden")]] __m256 _ZGVdN8v_rounded_float16(__m256 x) {
  return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
[[gnu::visibility("hidden")]] __m128 _ZGVbN4v_rounded_float16(__m128 x) {
  return _mm_cvtph_ps(_mm_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
f32 round_one(f32 x) __asm__("rounded_float16");
f32 round_one(f32 x) { return widen_float16(narrow_float16(x)); }
}
#else
inline f32 rounded_float16(f32 x) { return widen_float16(narrow_float16(x)); }
#endif
// Threads that take pieces in turns: nobody waits for one that is not awake yet.
struct Pool {
  std::mutex mutex;
  std::condition_variable begun, ended;
  const void* const* in;
  void* const* out;
  std::int64_t size, next = 0, pieces = 0, running = 0;
  void work(std::unique_lock<std::mutex>& lock);
  explicit Pool(int threads) {
    for (int i = 1; i < threads; ++i)
      std::thread([this] {
        for (std::unique_lock lock(mutex);; work(lock))
          begun.wait(lock, [&] { return next < pieces; });
      }).detach();
  }
};
"""

_TAIL = """\
void Pool::work(std::unique_lock<std::mutex>& lock) {
  for (++running; next < pieces;) {
    const std::int64_t begin = next++ * PIECE, end = begin + PIECE < size ? begin + PIECE : size;
    lock.unlock();
    piece(in, out, begin, end);
    lock.lock();
  }
  if (--running == 0) ended.notify_one();
}
}
extern "C" void run(const void* const* in, void* const* out, std::int64_t n, int threads) {
  static Pool* pool = new Pool(threads);
  std::unique_lock lock(pool->mutex);
  pool->in = in, pool->out = out, pool->size = n;
  pool->next = 0, pool->pieces = (n - 1) / PIECE + 1;
  if (pool->pieces > 1) pool->begun.notify_all();
  pool->work(lock);
  pool->ended.wait(lock, [&] { return pool->running == 0; });
}
}
"""


class Unprintable(Exception):
    """A program that cannot be printed or compiled; the message says why."""


@dataclass(frozen=True)
class Line:
    """A line `out = op of inputs`, of a dtype; `scalar` where it is computed once."""

    out: str
    op: str
    inputs: tuple[str, ...]
    dtype: str
    scalar: bool


@dataclass(frozen=True)
class Program:
    """A row program as its text says.

    Attributes:
        loads: of each input its type, as "float32(2, 3)", and whether it is a single element.
        lines: its instructions.
        stores: of each output its value's name and its type.
    """

    loads: tuple[tuple[str, bool], ...]
    lines: tuple[Line, ...]
    stores: tuple[tuple[str, str], ...]


def parse(text: str) -> Program:
    """Reads the text of `explain`.

    Raises:
        Unprintable: it is more than one elementwise program.
    """
    steps = re.findall(r"^step \d+ on .*?: (.*)$", text, re.M)
    if len(steps) != 1 or not steps[0].startswith("row program"):
        raise Unprintable(f"not one row program, but {'; '.join(steps)}")
    if "reduced axes" in steps[0]:
        raise Unprintable("a program with reductions")
    loads = re.findall(r"^  in\d+ = load (\w+\(.*\)) (\w+)$", text, re.M)
    lines = re.findall(r"^  (v\d+) = (\w+) (.*) : (\w+) (\w+)$", text, re.M)
    stores = re.findall(r"^  store (\w+) -> (\w+\(.*?\))$", text, re.M)
    if len(loads) + len(lines) + len(stores) != text.count("\n  "):
        raise Unprintable(f"a line that is not understood in\n{text}")
    if any(extent == "row" for _, extent in loads):
        raise Unprintable("a program with an operand of rows")
    for name in {*(_dtype(kind) for kind, _ in loads), *(line[3] for line in lines)} - set(TYPES):
        raise Unprintable(f"a program of {name}")
    return Program(
        tuple((kind, extent == "scalar") for kind, extent in loads),
        tuple(
            Line(out, op, tuple(inputs.split(", ")), dtype, extent == "scalar")
            for out, op, inputs, dtype, extent in lines
        ),
        tuple(stores),
    )


def _dtype(kind: str) -> str:
    return kind.partition("(")[0]


def source_folder() -> Path:
    """Where the functions are: csrc of CERMET_SOURCE, or around this file or the current folder.

    Raises:
        Unprintable: they are not there.
    """
    here, current = Path(__file__).absolute(), Path.cwd()
    chosen = os.environ.get("CERMET_SOURCE")
    for folder in [Path(chosen)] if chosen else [*here.parents, current, *current.parents]:
        if (folder / "csrc" / "ops" / "cpp.h").is_file():
            return folder / "csrc"
    raise Unprintable("csrc/ops is not found: CERMET_SOURCE may name Cermet's source")


def rare_operations() -> frozenset[str]:
    """The operations that have a second function for rare arguments."""
    texts = [path.read_text() for path in (source_folder() / "ops").glob("*.h")]
    return frozenset(re.findall(r"^RARE_[12]\((\w+), f32,", "".join(texts), re.M))


def cpp(program: Program) -> str:
    """The program as C++: a function `run(inputs, outputs, elements, threads)`."""
    rare = rare_operations()
    loads = [(_dtype(kind), scalar) for kind, scalar in program.loads]
    stores = [(name, _dtype(kind)) for name, kind in program.stores]
    types = {f"in{i}": dtype for i, (dtype, _) in enumerate(loads)}
    types |= {line.out: line.dtype for line in program.lines}
    read = {x for line in program.lines for x in line.inputs}

    def statement(line: Line, usual: bool) -> str:
        known = [types[x] for x in line.inputs if x in types]
        # A select's condition says nothing of the others' type.
        kind = TYPES[line.dtype if line.op == "select" or not known else known[-1]][1]
        of, result = ", ".join(_operand(x, types, kind) for x in line.inputs), TYPES[line.dtype][1]
        value, watch = f"{line.op}({of})", ""
        if line.op == "astype":
            value = f"to<{result}>({of})"
        elif usual and line.op in rare and kind == "f32":
            value, watch = f"{line.op}_usual({of})", f" rare |= {line.op}_rare({of});"
        if line.dtype in HALVES and line.out in read:  # else the store rounds
            value = f"rounded_{line.dtype}({value})"
        return f"const {result} {line.out} = {value};{watch}"

    before, after, values = [], [], []
    for i, (dtype, scalar) in enumerate(loads):
        place, type_ = f"static_cast<const {TYPES[dtype][0]}*>(in[{i}])", TYPES[dtype][1]
        if scalar:
            value = f"widen(*{place})" if dtype in HALVES else f"*{place}"
            before.append(f"const {type_} in{i} = {value};")
        elif dtype in HALVES:
            before.append(f"f32 p{i}[CHUNK];")
            before.append(f"widen({place} + begin, p{i}, n);")
        else:
            before.append(f"const auto* __restrict p{i} = {place} + begin;")
        if not scalar:
            values.append(f"const {type_} in{i} = p{i}[i];")
    before += [statement(line, False) for line in program.lines if line.scalar]
    results = []
    for i, (name, dtype) in enumerate(stores):
        place = f"static_cast<{TYPES[dtype][0]}*>(out[{i}]) + begin"
        if dtype in HALVES:
            before.append(f"f32 q{i}[CHUNK];")
            after.append(f"narrow(q{i}, {place}, n);")
        else:
            before.append(f"auto* __restrict q{i} = {place};")
        results.append(f"q{i}[i] = {name};")

    def function(name: str, usual: bool) -> list[str]:
        lines = [statement(line, usual) for line in program.lines if not line.scalar]
        return [
            f"[[gnu::flatten, gnu::noinline]] bool {name}(const void* const* in, void* const* out,",
            "    std::int64_t begin, std::int64_t n) {",
            *(f"  {text}" for text in before),
            "  int rare = 0;",
            "#pragma GCC ivdep",
            "  for (std::int64_t i = 0; i < n; ++i) {",
            *(f"    {text}" for text in values + lines + results),
            "  }",
            *(f"  {text}" for text in after),
            "  return rare != 0;",
            "}",
        ]

    watched = any(line.op in rare for line in program.lines)
    chunked = watched or any(dtype in HALVES for dtype in types.values())
    text = [
        f"constexpr std::int64_t PIECE = {PIECE}, CHUNK = {CHUNK if chunked else PIECE};",
        *function("usual", True),
        *(function("general", False) if watched else []),
        "void piece(const void* const* in, void* const* out, std::int64_t begin,",
        "           std::int64_t end) {",
        "  for (std::int64_t i = begin; i < end; i += CHUNK) {",
        "    const std::int64_t n = i + CHUNK < end ? CHUNK : end - i;",
        f"    {'if (usual(in, out, i, n)) general' if watched else 'usual'}(in, out, i, n);",
        "  }",
        "}",
    ]
    return _HEAD + "\n".join(text) + "\n" + _TAIL


def reading() -> str:
    """C++ that reads words of 64 bits, and writes one for every piece."""
    text = [
        f"constexpr std::int64_t PIECE = {PIECE};",
        "void piece(const void* const* in, void* const* out, std::int64_t begin,",
        "           std::int64_t end) {",
        "  const auto* words = static_cast<const u64*>(in[0]);",
        "  u64 all = 0;",
        "  for (std::int64_t i = begin; i < end; ++i) all ^= words[i];",
        "  static_cast<u64*>(out[0])[begin / PIECE] = all;",
        "}",
    ]
    return _HEAD + "\n".join(text) + "\n" + _TAIL


def _operand(word: str, types: dict[str, str], kind: str) -> str:
    """A name, or a constant's literal in the type that is computed in."""
    if word in types:
        return word
    if kind != "f32":
        return f"{kind}({word})"
    if word.lstrip("-") in ("inf", "nan"):
        return word.replace("inf", "kInf").replace("nan", "kNan")
    return f"{word if '.' in word or 'e' in word else word + '.0'}f"


@cache
def build(text: str, flags: str) -> Any:
    """The compiled `run` of a text.

    Raises:
        Unprintable: there is no compiler, or it refuses.
    """
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise Unprintable("there is no C++ compiler (c++, or CXX)")
    folder = source_folder()
    with tempfile.TemporaryDirectory() as place:
        source, library = Path(place) / "program.cpp", Path(place) / "program.so"
        source.write_text(text)
        paths = [f"-I{folder}", f"-I{folder / 'include'}"]
        done = subprocess.run(
            [compiler, *FLAGS.split(), *flags.split(), *paths, source, "-o", library],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unprintable(f"the compiler refuses: {done.stderr[:2000]}")
        run = ctypes.CDLL(str(library)).run
    run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int]
    run.restype = None
    return run
