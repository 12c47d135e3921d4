"""Evaluates random programs in several ways (room/ways.py) and with every instruction set: the
bytes must be the same. Trees of arguments must not be confused by `compile`."""

import re

from steps import STEPS

WEIGHTS, TEXTS = zip(*STEPS, strict=True)
EXTENTS = (2, 3, 4, 7, 16, 17, 32, 64, 65, 128, 255, 257, 600)
TYPES = ("float32",) * 5 + ("float16", "bfloat16", "float64", "int32", "complex64", "uint8")
# What is promised with one instruction set only.
ONE_ISA = re.compile(r"@|addmm|inner|outer|einsum|tensordot|conv|attention|q\w+m|linalg|float64")
TOKENS = (*"ab12:,'{}()[] ", "array", "float32", "")


def expression(random, count, inside=""):
    """A step's text, on results before it, or inside of a transform on `t`."""
    text = random.choices(TEXTS, WEIGHTS)[0]
    while inside and re.search(r"\bT\b", text):
        text = random.choices(TEXTS, WEIGHTS)[0]

    def operand(match):
        if inside:
            return "t"
        return f"n[{random.randrange(random.choice((0, max(0, count - 4))), count)}]"

    if re.search(r"\bT\b", text):
        inner = expression(random, count, "t")
        text = re.sub(r"\bT\b", lambda _: inner, text)
    text = re.sub(r"\b[XYZ]\b", operand, text)
    text = re.sub("AXIS", lambda _: str(random.choice((-1, -1, 0, 0, 1, None))), text)
    return re.sub("NUMBER", lambda _: random.choice(("0.0", "2", "-1.5", "True", "0.5", "3")), text)


def inputs(random):
    """The text of the inputs, twice: of other extents, and the same ones are the same again."""
    names = [random.sample(EXTENTS, 3) for _ in range(2)]
    shapes = [
        random.choice(((0, 1), (1, 2), (0, 2), (1,), (0,), (0, 0), (2, 1), ()))
        for _ in range(random.randrange(2, 5))
    ]
    kinds = [
        random.choice(TYPES[:5]) if random.random() < 0.7 else random.choice(TYPES) for _ in shapes
    ]
    seeds = [random.randrange(100) for _ in shapes]
    both = []
    for extents in names:
        made = (
            f"normal({tuple(extents[i] for i in shape)}, {seed}, {kind!r})"
            for shape, kind, seed in zip(shapes, kinds, seeds, strict=True)
        )
        both.append(f"[{', '.join(made)}]")
    return len(shapes), both


def closure(steps, first, output):
    """The steps that a result depends on, numbered anew, and its own number."""
    needed, order = {output}, []
    for i in range(output, first - 1, -1):
        if i in needed:
            needed |= {int(x) for x in re.findall(r"n\[(\d+)\]", steps[i - first])}
    order = [i for i in range(first, output + 1) if i in needed]
    numbers = {i: i for i in range(first)} | {i: first + place for place, i in enumerate(order)}
    texts = [
        re.sub(r"n\[(\d+)\]", lambda m: f"n[{numbers[int(m[1])]}]", steps[i - first]) for i in order
    ]
    return texts, numbers[output]


def written(both, steps, outputs):
    listed = "".join(f"    {step!r},\n" for step in steps)
    return f"steps = [\n{listed}]\nsaid = ways({both[0]}, {both[1]}, steps, {outputs})\n"


def unlike(said):
    """The ways that came to other bytes than they should."""
    found = [way for way in said if said[way] != said["whole"] and not way.startswith("grad")]
    return found + ["grad, evaluating"] * (said["grad"] != said["grad, evaluating"])


def differing(session, code, isa):
    """The names of the ways whose digests differ from their reference, or how the run ended."""
    answer = session.run(code, 20, 3 << 30)
    if answer["end"] == "slow":
        return []
    if answer["end"] != "ok":
        return [f"{answer['end']}: {answer.get('type', '')} {answer.get('text', '')[:90]}"]
    said = answer["said"]
    found = unlike(said)
    for name in isa:
        other = session.run(code, 30, 3 << 30, CERMET_ISA=name)
        if other["end"] == "ok" and other["said"]["whole"] != said["whole"]:
            found.append(f"ISA {name}")
    return found


def programs(session, random):
    """One random program, tried in all ways."""
    first, both = inputs(random)
    steps = [expression(random, first + i) for i in range(random.choice((3, 6, 12, 20)))]
    isa = ()
    if random.random() < 0.2 and not ONE_ISA.search(both[0]):
        steps = ["n[0]" if ONE_ISA.search(step) else step for step in steps]
        isa = ("v2", "v3", "v4")
    answer = session.run(f"said = possible({both[0]}, {both[1]}, {steps!r})", 20, 3 << 30)
    if answer["end"] != "ok":
        if answer["end"] not in ("slow", "raised"):
            session.found(
                answer["end"], f"{answer.get('text')}", f"possible({both[0]}, {both[1]}, {steps!r})"
            )
        return
    numbers = {i: i for i in range(first)}
    kept = []
    for i in answer["said"]:
        if all(int(x) in numbers for x in re.findall(r"n\[(\d+)\]", steps[i])):
            kept.append(re.sub(r"n\[(\d+)\]", lambda m: f"n[{numbers[int(m[1])]}]", steps[i]))
            numbers[first + i] = first + len(kept) - 1
    if not kept:
        return
    last = first + len(kept) - 1
    outputs = sorted({last, random.randrange(first, last + 1), random.randrange(first, last + 1)})
    for way in differing(session, written(both, kept, outputs), isa):
        for output in range(first, last + 1):  # the first result that differs on its own
            texts, number = closure(kept, first, output)
            code = written(both, texts, [number])
            if way in differing(session, code, isa if way.startswith("ISA") else ()):
                operation = re.sub(r"n\[\d+\]", "x", texts[-1])
                words = " ".join(re.findall(r"\b[a-z_]{3,}\b|@|[*]{2}", operation))
                session.found("bits", f"{way} | {words}", code, way)
                break
        else:
            session.found("bits", f"{way} | of several", written(both, kept, outputs), way)


def tree(random, depth=2):
    """A tree of arguments with keys that a careless text of it would confuse."""
    kind = random.randrange(6) if depth else 5
    count = random.choice((1, 1, 2))
    if kind < 2:
        keys = (
            "".join(random.choices(TOKENS, k=random.choice((1, 1, 2, 3, 4)))) for _ in range(count)
        )
        keys = [random.choice((repr(key), "1", "2", repr(key))) for key in keys]
        return f"{{{', '.join(f'{key}: {tree(random, depth - 1)}' for key in keys)}}}"
    if kind < 4:
        text = ", ".join(tree(random, depth - 1) for _ in range(count))
        return random.choice((f"[{text}]", f"({text},)"))
    if kind == 4:
        return f"{random.choice(('Forward', 'Backward'))}({tree(random, 0)}, {tree(random, 0)})"
    return random.choice(
        ("mx.array(3.0)", "mx.array([2.0, 5.0])", "1", "2", "1.0", "True", "'a'", "None")
    )


def fuzz(session):
    """Programs, and now and then trees, until the time is over."""
    random = session.random
    while session.running():
        if random.random() < 0.9:
            programs(session, random)
            continue
        trees = [tree(random) for _ in range(60)]
        code = f"said = structures([{', '.join(trees)}])"
        answer = session.run(code, 20)
        if answer["end"] != "ok" or answer["said"]:
            what = answer.get("said") or f"{answer['end']} {answer.get('text', '')}"
            kind = re.sub(r"[^(\[{]*([(\[{]).*then[^(\[{]*([(\[{]).*", r"\1 and \2", what)
            session.found("structures", kind, code, what)
