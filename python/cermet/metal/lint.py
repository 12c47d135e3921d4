"""A strict check of Metal source, without a Mac: ``python -m cermet.metal.lint FILE...``.

Prints ``file:line:column: error: message`` for what Metal 3.1 rejects and exits with status 1, or
accepts in silence. Quoted includes are looked up beside the including file, then in the folders of
``-I``. Three checks follow one another: the simulator's translator (attributes, kernel parameters),
clang's C++ for OpenCL (types, address spaces, overloads), and a walk over clang's syntax tree, with
the templates that kernels instantiate, for what that language allows and Metal does not.

Accepted here is not proof that Apple's compiler accepts: it is the last word.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cermet.core import _lint, metal

__all__ = ["Problem", "lint", "lint_source", "main"]

_MAIN = "kernels.cl"  # the translated text's name in the parser
_HEADERS = re.compile(
    "atomic|array|common|compute|config|geometric|graphics|integer|limits|logging|math|matrix|"
    "numeric|pack|quadgroup|relational|simdgroup|simdgroup_matrix|stdlib|texture|type_traits|types|"
    "uniform"
)
_INCLUDE = re.compile(r'\s*#\s*(?:include|import)\s*(?:"(?P<quoted>[^"]+)"|<metal_(?P<metal>\w+)>)')
_WARNINGS = "return-type", "uninitialized", "sometimes-uninitialized", "global-constructors"


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong with a line; as text, ``file:line:column: error: message``."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: error: {self.message}"


def lint(path: str | os.PathLike[str], include: Sequence[str] = ()) -> list[Problem]:
    """Checks a file of Metal source; see `lint_source`."""
    with open(path, encoding="utf-8") as file:
        return lint_source(file.read(), os.fspath(path), include)


def lint_source(
    source: str, path: str = "kernel.metal", include: Sequence[str] = ()
) -> list[Problem]:
    """Checks Metal source.

    Args:
        source: The text.
        path: Names it in problems; its folder is where quoted includes are looked up first.
        include: More folders for quoted includes.

    Returns:
        What Metal 3.1 would reject, in order, the first problem of each line; empty: accepted.

    Raises:
        ImportError: The package ``libclang`` is missing: ``pip install 'cermet[simulator]'``.
        RuntimeError: There is no compiler: likewise.
    """
    try:
        flat = "\n".join(_flatten(source, path, include, set()))
        translation = _lint.translate(_lint.preprocess(flat, path), path, strict=True)
    except metal.CompileError as e:  # of the preprocessor
        found = re.findall(r"^(.*):(\d+):(\d+): error: (.*)$", str(e), re.MULTILINE)
        if not found:
            raise
        problems = [Problem(file, int(line), int(column), m) for file, line, column, m in found]
        return _in_order(problems)
    except _Unknown as e:
        return [e.problem]
    problems = [
        Problem(file, line, column, message)
        for (file, line, column), message in translation.diagnostics
    ]
    if not problems:
        unit = _Unit(translation, path)
        problems = unit.diagnostics() or _Walk(unit).problems
    return _in_order(problems)


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    first: dict[tuple[str, int], Problem] = {}
    for p in problems:
        first.setdefault((p.file, p.line), p)
    return sorted(first.values())


# ---- Includes ------------------------------------------------------------------------------------
class _Unknown(Exception):
    """An include of a header that Metal has not."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _flatten(source: str, path: str, include: Sequence[str], once: set[str]) -> Iterator[str]:
    """The lines with quoted includes in place; what is not found is left to the preprocessor."""
    yield f'#line 1 "{path}"'
    for number, line in enumerate(source.splitlines(), 1):
        match = _INCLUDE.match(line)
        if match and match["metal"] and not _HEADERS.fullmatch(match["metal"]):
            message = f"Metal has no header <metal_{match['metal']}>"
            raise _Unknown(Problem(path, number, line.index("<") + 1, message))
        if re.match(r"\s*#\s*pragma\s+once\b", line):
            yield ""
            continue
        found = _find(match["quoted"], path, include) if match and match["quoted"] else None
        if found is None:
            yield line
        elif found not in once:
            with open(found, encoding="utf-8") as file:
                text = file.read()
            if re.search(r"^\s*#\s*pragma\s+once\b", text, re.MULTILINE):
                once.add(found)
            yield from _flatten(text, found, include, once)
        if found is not None:
            yield f'#line {number + 1} "{path}"'


def _find(name: str, path: str, include: Sequence[str]) -> str | None:
    for folder in (os.path.dirname(path), *include):
        candidate = os.path.normpath(os.path.join(folder, name))
        if os.path.isfile(candidate):
            return candidate
    return None


# ---- Clang ---------------------------------------------------------------------------------------
class _Unit:
    """A translation that clang has parsed."""

    def __init__(self, translation: Any, path: str) -> None:
        try:
            self.clang: Any = importlib.import_module("clang.cindex")
        except ImportError as e:
            raise ImportError(
                "the Metal lint needs the package libclang: pip install 'cermet[simulator]'"
            ) from e
        self._path = path
        self._translation = translation
        self.text: bytes = translation.text.encode()
        arguments = [
            *_lint.front_end_arguments(),
            "-Wno-everything",
            *(f"-Werror={name}" for name in _WARNINGS),
            "-Wimplicit-float-conversion",
        ]
        self._tree = self.clang.Index.create().parse(
            _MAIN, arguments, unsaved_files=[(_MAIN, translation.text)]
        )

    def declarations(self) -> Iterator[Any]:
        """What the source declares at program scope, and the kernels' entry points."""
        for c in self._tree.cursor.get_children():
            if self.holds(c.location) and self._lines[c.location.line - 1][0]:
                yield c

    def holds(self, location: Any) -> bool:
        """Whether it is in the source, not in Metal's library."""
        return location.file is not None and location.file.name == _MAIN

    @cached_property
    def _lines(self) -> list[tuple[str, int]]:
        """The place in the user's files of each line of the text."""
        places, file, number = [], "", 0
        for line in self._translation.text.split("\n"):
            number += 1
            places.append((file, number))
            marker = re.match(r'#\s*(?:line\s+)?(\d+)\s+"(.*)"', line)
            if marker:
                file, number = marker[2], int(marker[1]) - 1
        return places

    def problem(self, location: Any, message: str) -> Problem:
        file, line = self._lines[location.line - 1]
        file, line, column = self._translation.original(file, line, location.column)
        return Problem(file, line, column, message)

    def diagnostics(self) -> list[Problem]:
        """Clang's errors, each where the source leads to it."""
        found, elsewhere = [], []
        for d in self._tree.diagnostics:
            narrowing = d.option == "-Wimplicit-float-conversion"
            if d.severity < self.clang.Diagnostic.Error and not (
                narrowing and re.search("to '(?:__bf16|bfloat)", d.spelling)
            ):
                continue
            if d.spelling.startswith("scalar operand type has greater rank"):
                continue  # Metal converts it; the simulator rewrites it
            message = _lint.in_metal_terms(d.spelling)
            notes = list(d.children)
            if any("'this' object is in default address space" in n.spelling for n in notes):
                continue  # a temporary, which is a thread's
            if message.startswith("no matching"):
                reasons = (n.spelling for n in notes if n.spelling.startswith("candidate"))
                message = ": ".join([message, *map(_lint.in_metal_terms, reasons)][:2])
            places = [x.location for x in (d, *notes) if self.holds(x.location)]
            if places:
                found.append(self.problem(places[0], message))
            else:  # in Metal's library, following from another
                elsewhere.append(Problem(self._path, 1, 1, message))
        return found or elsewhere


# ---- The walk ------------------------------------------------------------------------------------
_SPACES = {1: "device", 2: "threadgroup", 3: "constant", 4: "thread"}  # clang's numbers
_NOT_IN_METAL = {
    "GOTO_STMT": "goto",
    "INDIRECT_GOTO_STMT": "goto",
    "ADDR_LABEL_EXPR": "addresses of labels",
    "CXX_NEW_EXPR": "new",
    "CXX_DELETE_EXPR": "delete",
    "CXX_THROW_EXPR": "throw",
    "CXX_TRY_STMT": "try",
    "CXX_DYNAMIC_CAST_EXPR": "dynamic_cast",
    "CXX_TYPEID_EXPR": "typeid",
    "LAMBDA_EXPR": "lambda expressions before 3.2",
    "ASM_STMT": "asm statements",
    "MS_ASM_STMT": "asm statements",
}
_FUNCTIONS = {
    "FUNCTION_DECL",
    "FUNCTION_TEMPLATE",
    "CXX_METHOD",
    "CONSTRUCTOR",
    "DESTRUCTOR",
    "CONVERSION_FUNCTION",
}
_VARIABLES = {"VAR_DECL", "PARM_DECL", "FIELD_DECL"}
_CASTS = {
    "CSTYLE_CAST_EXPR",
    "CXX_STATIC_CAST_EXPR",
    "CXX_REINTERPRET_CAST_EXPR",
    "CXX_CONST_CAST_EXPR",
    "CXX_FUNCTIONAL_CAST_EXPR",
}


class _Walk:
    """Visits every declaration of the source, and the instances of templates that kernels call."""

    def __init__(self, unit: _Unit) -> None:
        self.problems: list[Problem] = []
        self._unit = unit
        self._clang = unit.clang
        self._calls: dict[str, dict[str, Any]] = {}  # by caller: calls by what they call
        self._names: dict[str, str] = {}
        self._visited: set[tuple[str, int]] = set()  # functions, and where
        self._kernels: set[int] = set()  # where they are declared
        self._waiting: list[Any] = []  # functions to visit
        # The entry points, which are last and have C linkage, say which functions are kernels.
        linkage = self._clang.CursorKind.LINKAGE_SPEC
        for declaration in sorted(unit.declarations(), key=lambda d: d.kind != linkage):
            self._visit(declaration, "")
        while self._waiting:
            self._visit(self._waiting.pop(), "")
        self._find_recursion()

    def _report(self, cursor: Any, message: str) -> None:
        self.problems.append(self._unit.problem(cursor.location, _lint.in_metal_terms(message)))

    def _visit(self, cursor: Any, function: str) -> None:
        kind = cursor.kind.name
        if kind in _FUNCTIONS:
            function, where = cursor.get_usr(), cursor.location.offset
            implicit = where == cursor.semantic_parent.location.offset
            if implicit or (function, where) in self._visited:
                return
            self._visited.add((function, where))
            self._calls.setdefault(function, {})
            self._names[function] = cursor.spelling
            self._function(cursor)
        elif kind in _VARIABLES:
            self._type(cursor, cursor.type)
            if kind == "VAR_DECL":
                self._variable(cursor)
        elif kind in ("TYPEDEF_DECL", "TYPE_ALIAS_DECL"):
            self._type(cursor, cursor.underlying_typedef_type)
        elif kind in _CASTS:
            self._type(cursor, cursor.type)
        elif kind == "CALL_EXPR":
            self._call(cursor, function)
        elif kind in _NOT_IN_METAL:
            self._report(cursor, f"Metal has no {_NOT_IN_METAL[kind]}")
        else:
            self._expression(cursor, kind)
        for child in cursor.get_children():
            self._visit(child, function)

    def _is_vector(self, type_: Any) -> bool:
        return type_.get_canonical().kind == self._clang.TypeKind.EXTVECTOR

    def _loses(self, source: Any, target: Any) -> bool:
        """Whether a value becomes a bfloat of another floating-point type."""
        # By name: libclang's Python has none for the kind of bfloat.
        names = [t.get_canonical().spelling.rpartition(" ")[2] for t in (source, target)]
        return names in (["float", "__bf16"], ["half", "__bf16"])

    def _function(self, cursor: Any) -> None:
        self._type(cursor, cursor.result_type)
        prototype = cursor.type.kind == self._clang.TypeKind.FUNCTIONPROTO
        if prototype and cursor.type.is_function_variadic():
            self._report(cursor, f"{cursor.spelling}: Metal has no variadic functions")
        if cursor.spelling == "main":
            self._report(cursor, "Metal has no function main")
        if cursor.is_virtual_method():
            self._report(cursor, f"{cursor.spelling}: Metal has no virtual functions")

    def _type(self, cursor: Any, type_: Any) -> None:
        """Pointers and references lead to an address space and not to functions."""
        kinds = self._clang.TypeKind
        written = type_.spelling
        name = f"{cursor.spelling}: " if cursor.spelling else ""
        type_ = type_.get_canonical()
        while True:
            if type_.kind == kinds.MEMBERPOINTER:
                return self._report(cursor, f"{name}Metal has no pointers to members: {written}")
            if type_.kind in (kinds.CONSTANTARRAY, kinds.INCOMPLETEARRAY):
                type_ = type_.element_type
                continue
            if type_.kind not in (kinds.POINTER, kinds.LVALUEREFERENCE, kinds.RVALUEREFERENCE):
                break
            type_ = type_.get_pointee()
            if type_.kind in (kinds.FUNCTIONPROTO, kinds.FUNCTIONNOPROTO):
                return self._report(cursor, f"{name}Metal has no pointers to functions: {written}")
            if type_.kind != kinds.AUTO and self._space(type_) is None:
                return self._report(
                    cursor, f"{name}a pointer or reference needs an address space: {written}"
                )
        if type_.kind in (kinds.INT128, kinds.UINT128):
            self._report(cursor, f"{name}Metal has no type __int128")
        if type_.kind in (kinds.LONGLONG, kinds.ULONGLONG):
            self._report(cursor, f"{name}Metal has no type long long; long has 64 bits")

    def _space(self, type_: Any) -> str | None:
        kinds = self._clang.TypeKind
        while type_.get_address_space() not in _SPACES and type_.kind in (
            kinds.CONSTANTARRAY,
            kinds.INCOMPLETEARRAY,
            kinds.DEPENDENTSIZEDARRAY,
        ):
            type_ = type_.element_type
        return _SPACES.get(type_.get_address_space())

    def _variable(self, cursor: Any) -> None:
        static = cursor.storage_class == self._clang.StorageClass.STATIC
        local = cursor.semantic_parent.kind.name in _FUNCTIONS
        if (local and not static) or self._space(cursor.type) == "constant":
            return
        if any(c.kind.name == "ASM_LABEL_ATTR" for c in cursor.get_children()):
            return  # a function constant, as the translator declares it
        what = "static" if local else "program scope"
        self._report(cursor, f"{cursor.spelling}: a {what} variable must be in constant memory")

    def _call(self, cursor: Any, function: str) -> None:
        called = cursor.referenced
        if called is None or not self._unit.holds(called.location):
            return
        where = called.location.offset
        if self._names.get(function, "").startswith("cermet_kernel_"):
            self._kernels.add(where)
        elif where in self._kernels:
            self._report(cursor, f"{called.spelling}: a kernel cannot be called")
        if function:
            self._calls[function].setdefault(called.get_usr(), cursor)
        self._waiting += [called, called.get_definition() or called]

    def _expression(self, cursor: Any, kind: str) -> None:
        if kind == "CONDITIONAL_OPERATOR":
            condition = next(cursor.get_children(), None)
            if condition is not None and self._is_vector(condition.type):
                self._report(cursor, "?: takes a scalar condition; select takes vectors")
        elif kind == "COMPOUND_LITERAL_EXPR" and self._is_vector(cursor.type):
            self._report(
                cursor, "a vector literal of OpenCL: Metal's are calls, as in float2(a, b)"
            )
        elif kind == "COMPOUND_ASSIGNMENT_OPERATOR":
            sides = list(cursor.get_children())
            if len(sides) == 2 and self._loses(sides[1].type, sides[0].type):
                self._report(cursor, "the result is not converted to bfloat implicitly")
        elif kind == "UNEXPOSED_EXPR":
            base = next(cursor.get_children(), None)
            if base is not None and self._loses(base.type, cursor.type):
                self._report(cursor, f"{base.type.spelling} is not converted to bfloat implicitly")
            # The same text is that of a conversion of a member of a struct.
            if base is None or not self._is_vector(base.type) or base.extent == cursor.extent:
                return
            extent = cursor.extent
            if base.extent.end.offset == extent.end.offset:  # the value of a member of a struct
                return
            member = re.search(
                rb"\.\s*([A-Za-z_]\w*)$", self._unit.text[extent.start.offset : extent.end.offset]
            )
            if member and not re.fullmatch(rb"[xyzw]{1,4}|[rgba]{1,4}", member[1]):
                self._report(cursor, f"a vector has no component {member[1].decode()}")

    def _find_recursion(self) -> None:
        """Reports a call of each cycle."""
        done: set[str] = set()
        for root in self._calls:
            path: list[str] = []
            todo = [(root, False)]
            while todo:
                function, left = todo.pop()
                if left:
                    path.pop()
                    done.add(function)
                elif function not in done and function in self._calls:
                    path.append(function)
                    todo.append((function, True))
                    for called, call in self._calls[function].items():
                        if called in path:
                            self._report(call, f"{self._names[called]}: Metal has no recursion")
                        else:
                            todo.append((called, False))


# ---- The program ---------------------------------------------------------------------------------
def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``python -m cermet.metal.lint``."""
    parser = argparse.ArgumentParser(
        prog="python -m cermet.metal.lint", description="Checks Metal source as Metal 3.1 would."
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument(
        "-I",
        dest="include",
        action="append",
        default=[],
        metavar="DIR",
        help="also look for quoted includes here",
    )
    options = parser.parse_args(arguments)
    try:
        problems = [p for file in options.files for p in lint(file, options.include)]
    except (ImportError, OSError, RuntimeError) as e:
        parser.error(str(e))
    for p in problems:
        print(p)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
