"""Calls every public function and method with wild arguments: nothing may crash, hang, eat memory,
or answer with an error that speaks of the inside."""

import re

from room.findings import form
from room.surface import CONSUMERS, RETURNING, targets
from room.values import Values

# Errors that a call may answer with; others are found, as are texts that say nothing to a user.
EXPECTED = set(
    """TypeError ValueError IndexError AxisError OverflowError MemoryError AttributeError KeyError
    RecursionError ZeroDivisionError OSError FileNotFoundError IsADirectoryError PermissionError
    NotADirectoryError FileExistsError UnsupportedOperation NotImplementedError BufferError
    StopIteration AssertionError NameError UnicodeEncodeError ForkedError KindError
    IntegerRangeError""".split()
)
INSIDE = re.compile(
    r"std::|bad_cast|bad_alloc|Critical|basic_string|vector::|map::at|another way"
    r"|__next__|values to unpack"
)
ODD = re.compile(
    r"bare\([\w.]+\)|(cyclic|deep|shared|emptied|tower)\([\w.]+\)|parent_and_child\(\)"
    r"|\(ctypes.c_\w+ \* \d\)|\(\(ctypes"
    r"|np\.\w+\(\(\), '[^']+'\)|np\.\w+\('\w+'\)|np\.\w+\([^)]*\), '[^']+'\)"
)
MADE = {  # what a class is made of, by a part of its name
    "Linear": "3, 3",
    "Bilinear": "3, 3, 4",
    "Conv": "3, 4, 3",
    "Norm": "3",
    "Embedding": "4, 3",
    "Sequential": "nn.ReLU()",
    "LSTM": "3, 4",
    "GRU": "3, 4",
    "RNN": "3, 4",
    "Dropout": "0.5",
    "Attention": "4, 2",
    "Transformer": "4, 1, 1, 2",
    "Pool": "2",
    "optimizers": "0.1",
    "Device": "mx.cpu",
    "StreamContext": "mx.cpu",
    "info": "mx.float32",
    "ArrayLike": "np.ones(3)",
    "custom_function": "mx.sin",
    "RoPE": "4",
    "Positional": "4",
    "Upsample": "2",
    "MultiOptimizer": "[optimizers.SGD(0.1)]",
}
STREAMS = ("mx.cpu", "mx.gpu", "mx.Device(mx.cpu)", "mx.default_stream(mx.cpu)")
UNCOUNTED = 700 << 20  # bytes that a call may take beside its arrays
# What takes or makes lists of arrays: of an array, each row becomes an object.
ROWS = {"mx.concat", "mx.concatenate", "mx.jvp", "mx.stack", "mx.unstack", "mx.vjp"}
# A function that, given what it returned last, makes a tree twice as large.
DOUBLING = ("utils.tree_reduce", "lambda *a: {'a': a[0], 'b': (a[0],)}")
# What NumPy says of a list that changes, in an expression of its own arrays.
NUMPYS = re.compile("Inconsistent object during array creation")


def value(v, name, annotation):
    """A value for a parameter, by its annotation and name."""
    if "layers" in name:  # all of which are made, as was asked for
        return v.one(("0", "1", "2", "3", "-1", "True", "1.5", "None", "'a'"))
    if v.chance(0.12):
        return v.wild()
    options = []
    for pattern, make in (
        (r"\barray\b(?!\w)", v.array),
        (r"\bint\b(?!.*Sequence)", v.integer),
        (r"Sequence\[int|tuple\[int|shape", v.extents),
        (r"Sequence\[(\w+\.)*array|\*|list\[", lambda: v.sequence(v.array)),
        (r"\bfloat\b", v.number),
        (r"\bbool\b", lambda: v.one(("True", "False", v.number()))),
        (r"\bstr\b(?!.*PathLike)", v.string if "mode" not in name else v.mode),
        (r"Dtype", v.dtype),
        (r"Callable", v.function),
        (r"Stream|Device", lambda: v.one(STREAMS)),
        (r"dict", lambda: v.mapping(v.array)),
        (r"PathLike|IO\[", v.file),
        (r"Module", v.module),
        (r"NDArray", v.buffer),
    ):  # fmt: skip
        if re.search(pattern, annotation):
            options.append(make)
    if re.search(r"ax[ie]s", name):
        options = [v.integer, v.integer, lambda: v.sequence(v.integer)]
    elif re.search(r"dim|features|channels|size|num|hidden|^n$|^k$", name) and not options:
        options = [lambda: str(v.one((1, 2, 3, 4, 8))), v.integer]
    elif re.search(r"model|module", name):
        options = [v.module]
    elif name in ("indices", "arg", "arg0", "args"):
        options += [v.integer, v.tree, lambda: index(v), lambda: index(v)]
    options = options or [v.tree, v.wild, v.array]
    return v.one(options)()


def index(v):
    """What stands between square brackets."""
    part = (
        v.integer, lambda: "...", lambda: "None", lambda: "slice(None)", v.array,
        lambda: v.sequence(v.integer),
        lambda: f"slice({v.integer()}, {v.integer()}, {v.integer()})", lambda: "True",
    )  # fmt: skip
    return v.sequence(lambda: v.one(part)()) if v.chance(0.6) else v.one(part)()


def arguments(v, listed):
    """(keyword or "", text) of the arguments of a call."""
    given, named = [], False
    for name, kind, annotation, optional in listed:
        if name == "self" or (optional and v.chance(0.55)) or (name == "stream" and v.chance(0.9)):
            named |= name != "self"
            continue
        if kind == "several":
            count = 0 if named else v.random.randrange(4)
            given += [("", value(v, name, annotation)) for _ in range(count)]
        elif kind == "pairs":
            given += [(key, v.tree()) for key in v.random.sample(("a", "b", "c"), v.one((0, 0, 1)))]
        else:
            given.append((name if named or kind == "keyword" else "", value(v, name, annotation)))
            named |= kind == "keyword"
    if v.chance(0.02) and given:
        given.pop(v.random.randrange(len(given)))
    return given


def receiver(v, kind):
    """An object whose method is called."""
    if kind == "array":
        return v.array() if v.chance(0.97) else "bare(mx.array)"
    if v.chance(0.05):
        return f"bare({kind})"
    fitting = [text for part, text in MADE.items() if part in kind]
    return f"{kind}({fitting[0] if fitting else ''})"


def written(target, on, given, again=None):
    """The program of a call; of what it returns, too, before and after a container changed."""
    if target.startswith("consumed"):
        return f"x = {on}\n{target}\n"
    call = ", ".join(f"{key}={text}" if key else text for key, text in given)
    call = f"{f'({on}).' if on else ''}{target}({call})"
    if again is None:
        return f"use({call})\nsane()\n" if target.startswith("mx.set") else f"use({call})\n"
    box, change, last = again
    return f"box = {box}\ncall = {call}\nuse(call({last}))\n{change}\nuse(call({last}))\n"


def repeated(v, given):
    """The container, its change and the arguments of a call whose result is called."""
    for place, (key, text) in enumerate(given):
        if not re.match(r"lambda|mx\.\w+$|nn|print|int", text) and v.chance(0.5):
            given[place] = (key, v.one(("box", "[box]", "(box, box)")))
    box = v.one((f"[{v.array()}]", f"{{'a': {v.array()}}}", f"[{v.tree()}, {v.tree()}]", "[]"))
    key = "'a'" if box[0] == "{" else "0"
    change = v.one(
        ("pass", "box.clear()", f"box[{key}] = {v.tree()}", f"box[{key}] = {v.array()}", "del box")
    )
    return box, change, ", ".join(v.array() for _ in range(v.one((1, 1, 1, 2, 0))))


def verdict(answer):
    """(kind, what it is) of an answer that no call may give, else None."""
    if answer["end"] in ("crash", "hang", "memory"):
        return answer["end"], answer.get("text", "")
    if answer.get("peak", 0) - answer.get("counted", 0) > UNCOUNTED:
        return "memory", "memory that is not counted"
    if answer["end"] == "raised" and answer["type"] != "KeyboardInterrupt":
        silent = not answer["text"] and answer["type"] != "StopIteration"
        if answer["type"] == "MemoryError" and answer.get("inside"):
            silent = False  # a line of Python: `n * [x]`
        expected = answer["type"] in EXPECTED or answer["own"] or NUMPYS.match(answer["text"])
        if not expected or silent or INSIDE.search(answer["text"]):
            return "error", f"{answer['type']}: {answer['text'][:100]}"
    return None


def smaller(session, target, on, given, again, kind):
    """The call with as few and as plain arguments as still end in the same kind of way."""

    def same(on, given):
        found = verdict(session.run(written(target, on, given, again), 2))
        return found and found[0] == kind

    for place in reversed(range(len(given))):
        shorter = given[:place] + [(k, t) for k, t in given[place + 1 :] if k]
        if len(shorter) == len(given) - 1 and same(on, shorter):
            given = shorter
            continue
        for plain in ("1", "mx.ones((2, 2))", "None"):
            replaced = [*given[:place], (given[place][0], plain), *given[place + 1 :]]
            if given[place][1] != plain and same(on, replaced):
                given = replaced
                break
    if on and on.startswith("mx.") and same("mx.ones((2, 2))", given):
        on = "mx.ones((2, 2))"
    return on, given


def blamed(target, on, given, again):
    """What a crash is counted under: an argument that nobody means well, or the function."""
    for text in (on or "", *(text for _, text in given), *(again or ())):
        if odd := ODD.search(text):
            return re.sub(r"\d+|(?<=c_)\w+", "0", odd.group())
    return target


def drawn(random, groups):
    """(target, receiver, arguments, how it is repeated) of a random call."""
    target, listed, kind = random.choice(random.choice(groups))
    v = Values(random)
    on = receiver(v, kind) if kind else None
    given = arguments(v, listed)
    return target, on, given, repeated(v, given) if target in RETURNING else None


def judge(session, target, on, given, again):
    """Runs a call alone, and reports what it should not do."""
    answer = session.run(written(target, on, given, again), 3)
    found = verdict(answer)
    if found is None:
        return
    if target in CONSUMERS and re.search(r"memory|shared\(", f"{found} {given}", re.I):
        return  # Python's own containers take what they take, and are walked without signals
    if found[0] == "memory" and target in ROWS:
        lists = (session.run(f"[*{text}]", 20) for _, text in given)
        if any("memory" in f"{verdict(answer)}".lower() for answer in lists):
            return
    if found[0] == "memory" and target == DOUBLING[0] and DOUBLING[1] in (t for _, t in given):
        return
    signature = found[1]
    if found[0] == "error":
        signature = f"{answer['type']} in {answer['inside']}" if answer["inside"] else signature
    else:
        signature = f"{found[1]} {blamed(target, on, given, again)}"
        if (found[0], form(signature)) in session.findings:
            return
        on, given = smaller(session, target, on, given, again, found[0])
        signature = f"{found[1]} {blamed(target, on, given, again)}"
    detail = f"{found[1]} {answer.get('inside', '')} {answer['printed'][-200:]}"
    session.found(found[0], signature, written(target, on, given, again), detail)


def fuzz(session):
    """Calls until the time is over: some together, and alone those of a bunch that went wrong."""
    groups = targets()
    while session.running():
        calls = [drawn(session.random, groups) for _ in range(12)]
        answer = session.run(f"said = attempts({[written(*call) for call in calls]!r})", 4)
        session.programs += len(calls) - 1
        good = answer["end"] == "ok" and verdict(answer) is None
        for place, call in enumerate(calls):
            part = answer["said"][place] if good else None
            odd = part and verdict({"end": "raised", "peak": 0, "counted": 0} | part)
            if (not good or odd) and session.running():
                judge(session, *call)
