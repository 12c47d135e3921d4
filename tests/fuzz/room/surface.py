"""What there is to call: everything public, found by introspection, with its parameters."""

import ast
import inspect
import re

CONSUMERS = (
    "hash len list tuple bool int float complex bytes memoryview iter reversed sum max "
    "sorted abs round format "
    "json.dumps math.floor math.ceil operator.index"
).split()
SURE = (
    "str repr copy.copy copy.deepcopy pickle.dumps pprint.pformat reprlib.repr callable dir".split()
)
RETURNING = [
    f"mx.{name}" for name in "grad value_and_grad vmap compile checkpoint custom_function".split()
]
SKIPPED = {"simulator", "cuda", "metal", "distributed", "_lint", "set_default_device"}


def parameters(function):
    """(name, kind of parameter, annotation, has a default) of a function, or None."""
    signature = getattr(function, "__nb_signature__", None)
    if signature:
        text = re.sub(r"\\\d+", "...", signature[0][0])
        arguments = ast.parse(text + ": ...").body[0].args
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
        found = [
            (a, "positional", d is not None) for a, d in zip(positional, defaults, strict=True)
        ]
        found += [(arguments.vararg, "several", False)] if arguments.vararg else []
        found += [
            (a, "keyword", d is not None)
            for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        ]
        return [
            (a.arg, kind, ast.unparse(a.annotation or ast.Name("Any")), d) for a, kind, d in found
        ]
    try:
        listed = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return None
    kinds = {"VAR_POSITIONAL": "several", "KEYWORD_ONLY": "keyword", "VAR_KEYWORD": "pairs"}
    return [
        (p.name, kinds.get(p.kind.name, "positional"), str(p.annotation), p.default is not p.empty)
        for p in listed
    ]


def targets():
    """Groups of (what to call as text, parameters, the receiver's kind): everything public."""
    import prelude

    mx, groups = prelude.mx, []
    rooms = [("mx", mx), ("mx.random", mx.random), ("mx.linalg", mx.linalg), ("mx.fast", mx.fast)]
    rooms += [(name, getattr(prelude, name)) for name in ("nn", "optimizers", "utils")]
    rooms += [("nn.losses", prelude.nn.losses), ("nn.init", prelude.nn.init)]
    for place, room in rooms:
        functions, methods = [], []
        for name in sorted(vars(room)):
            thing = getattr(room, name)
            foreign = not (getattr(thing, "__module__", None) or "").startswith("cermet")
            if name.startswith("_") or name in SKIPPED or inspect.ismodule(thing) or foreign:
                continue
            path = f"{place}.{name}"
            if not inspect.isclass(thing):
                if callable(thing):
                    functions.append((path, parameters(thing) or [], None))
                continue
            functions.append((path, parameters(thing.__init__) or [], None))
            for method in sorted(dir(thing)):
                owner = next((base for base in thing.__mro__ if method in vars(base)), object)
                call = getattr(thing, method, None)
                private = method == "__init__" or method[0] == "_" != method[1]
                if owner.__module__.startswith("cermet") and callable(call) and not private:
                    methods.append((method, parameters(call) or [], path))
        groups += [functions] * (5 if place == "mx" else 1) + [methods] * (
            3 if place == "mx" else 1
        )
    groups += [[(name, [("x", "positional", "Any", False)], None) for name in CONSUMERS]]
    groups += [[(f"consumed({name}, x)", [], "array") for name in SURE]]
    groups += [[target for target in groups[0] if target[0] in RETURNING]]
    return [group for group in groups if group]
