"""Compares random expressions with NumPy: values, shapes, types, and what is refused.

Differences that are known and documented stand in a table; everything else is a finding.
"""

import importlib.util
import re

from expressions import DTYPES, ELEMENTWISE, KNOWN, LOOSE, TEMPLATES, TYPES
from room.findings import form
from room.pools import FAR
from room.values import Values

EINSUM = ("ij,jk->ik", "i,i->", "...i,...i->...", "ii,i->i", "i,j", "ab,bc")
HARMLESS = ("KeyboardInterrupt", "MemoryError")


class Expressions(Values):
    """Draws what the templates leave open."""

    def axis(self):
        rank = len(self.shape)
        if rank == 0 or self.chance(0.15):
            return self.one(("None", "3", "-7"))
        return str(self.random.randrange(-rank, rank))

    def axes(self):
        if self.chance(0.6):
            return self.axis()
        rank = len(self.shape)
        return str(tuple(self.random.sample(range(rank), self.random.randrange(rank + 1))))

    def index(self):
        return self.sequence(self.one_index) if self.chance(0.5) else self.one_index()

    def one_index(self):
        far = str(self.one(FAR))
        if self.chance(0.3):
            bounds = (self.one(("None", "0", "1", "-1", "2", far)) for _ in range(3))
            return f"slice({', '.join(bounds)})"
        return self.one(("...", "None", "0", "-1", "1", "[0, 1]", "[1, 1, 0]", "True", "[]", far))

    def indices(self):
        return str([self.random.randrange(-1, 2) for _ in range(self.random.randrange(4))])

    def permuted(self):
        rank = len(self.shape)
        return str(tuple(self.random.sample(range(rank), rank)))

    def drawn(self, name):
        """The text for a name in braces."""
        draw = {
            "axis": self.axis,
            "axes": self.axes,
            "int": self.integer,
            "number": self.scalar,
            "shape": lambda: str(self.some_shape()),
            "index": self.index,
            "indices": self.indices,
            "nested": lambda: self.nested(2),
            "permuted": lambda: str(
                tuple(self.random.sample(range(len(self.shape)), len(self.shape)))
            ),
        }
        choices = {
            "far": FAR,
            "small": (0, 1, 2, 3),
            "bool": (True, False),
            "dtype": DTYPES,
            "integer": DTYPES[1:9],
            "stable": (", **STABLE",),
            "mode": ("'full'", "'same'", "'valid'"),
            "pad": ("mode='edge'", "mode='constant'"),
            "einsum": (
                "'ij,jk->ik'",
                "'i,i->'",
                "'...i,...i->...'",
                "'ii,i->i'",
                "'i,j'",
                "'ab,bc'",
            ),
        }
        return draw[name]() if name in draw else str(self.one(choices[name]))

    def fill(self, template):
        return re.sub(r"\{(\w+)\}", lambda match: self.drawn(match[1]), template)

    def scalar(self):
        if self.chance(0.5):
            return self.integer()
        return self.one("True False 1j 2 0.5 -1.5 inf -inf nan 0.0 -0.0 1e4 1e-3".split())

    def nested(self, depth):
        if depth == 0 or self.chance(0.3):
            return self.scalar()
        return f"[{', '.join(self.nested(depth - 1) for _ in range(self.random.randrange(4)))}]"

    def data(self, types, peer):
        kind = self.one(("special", "special", "small", "normal"))
        if peer != "numpy":  # which promise less for special values
            kind = self.one(("small", "normal"))
        seed = self.random.randrange(1000)
        return f"data({self.one(types)!r}, {self.some_shape()}, {seed}, {kind!r})"


def program(v, template, peer):
    """The comparison of an expression on arrays of one type or, at times, of two."""
    how, types, expression = template
    types = [v.one(TYPES[types])]
    given = [v.data(types, peer) for _ in range(2)]
    if "(a)" in expression and v.chance(0.2):
        name = v.one(ELEMENTWISE)
        expression = v.one((f"xp.{name}(a)", f"a.astype(xp.{v.one(DTYPES)})"))
        size, seed = v.one((1, 5, 17, 31, 33, 100)), v.random.randrange(99)
        x = f"data({v.one(types)!r}, ({size},), {seed}, 'special')"
        return expression, f"said = whole_and_parts(lambda xp, a: {spelled(expression)}, {x})\n"
    expression = v.fill(expression)
    if peer != "numpy":
        how = f"bound={'1e9' if how == LOOSE else 100}, peer={peer!r}"
    function = f"lambda xp, a, b: {spelled(expression)}"
    return expression, f"said = compare({function}, {', '.join(given)}, {how})\n"


def spelled(expression):
    """The expression with what the libraries name differently."""
    expression = re.sub(r"xp\.(bool)\b", "(np.bool_ if xp is np else mx.bool_)", expression)
    return expression.replace("**STABLE", "**({'kind': 'stable'} if xp is np else {})")


def peers():
    """NumPy, mostly, and what else is installed."""
    found = [name for name in ("mlx", "torch") if importlib.util.find_spec(name)]
    return ["numpy"] * (1 + 2 * len(found)) + found


def known(expression, difference):
    """Whether a difference is in the table."""
    return any(re.search(e, expression) and re.search(d, difference, re.S) for e, d, _ in KNOWN)


def fuzz(session):
    """Compares until the time is over."""
    listed = peers()
    environment = {"FUZZ_PEERS": " ".join({*listed} - {"numpy"})}
    while session.running():
        v = Expressions(session.random)
        template = session.random.choice(TEMPLATES)
        peer = session.random.choice(listed)
        expression, code = program(v, template, peer)
        answer = session.run(code, 10, **environment)
        if answer["end"] in ("crash", "hang", "memory"):
            theirs = session.run(code.replace(" compare(", " alone(", 1), 10, **environment)
            if " compare(" in code and theirs["end"] == answer["end"]:
                continue  # it is the peer that does so
            session.found(answer["end"], f"{answer.get('text')} {template[2]}", code)
        elif answer["end"] == "raised" and answer["type"] not in HARMLESS:
            session.found("broken", f"{answer['type']} {answer['text']}", code)
        elif answer.get("said") and not known(expression, answer["said"]):
            what = re.split(r"[:,(\[]", answer["said"])[0]
            about = expression if "parts" in what else template[2]
            signature = f"{peer} | {about} | {form(what)}"
            if what.startswith("raises"):  # one text, however many operations give it
                signature = answer["said"]
            session.found("differs", signature, code, answer["said"])
