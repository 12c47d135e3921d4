"""The tables of recipes/: how the public functions are called when two libraries are compared.

The names and their parameters come from signatures.txt, so that none is left out.
"""

import ast
import pathlib
import re

FOLDER = pathlib.Path(__file__).with_name("recipes")
SIGNATURES = pathlib.Path(__file__).parents[1] / "python" / "signatures.txt"

# What stands for a result that two sound libraries may give differently.
POSTS = {
    "core.argsort": "picked({a}, {call}, {axis})",
    "core.argpartition": "mx.sort(picked({a}, {call}, {axis}), axis={along})",
    "core.partition": "mx.sort({call}, axis={along})",
    "core.topk": "mx.sort({call}, axis={along})",
    "linalg.qr": "product({call}, 'qr')",
    "linalg.svd": "product({call}, 'svd')",
    "linalg.eigh": "product({call}, 'eigh')",
    "linalg.eig": "product({call}, 'eig')",
    "linalg.eigvals": "ordered({call})",
    "core.einsum_path": "({call}) is not None",
    "core.ArrayLike": "type({call}).__name__",
    "random.key": "shaped({call})",
}
# Names that are not called, and why.
LEFT = {
    r"Stream|Device|stream|device|cpu|gpu|synchronize|is_available": "machines",
    r"memory|cache|limit|metal\.|cuda|kernel|buffer_size": "machines",
    r"load|save|export|import|Exporter|extension\.": "files, which have fuzzers of their own",
    r"[Ss]hard|sum_gradients|average_gradients|distributed\.(Group|init|send|recv)": "groups",
    r"printoptions|PrintOptions": "texts",
    r"gated_delta|qqmm|QQLinear": "what the other library's CPU refuses",
    r"__bytes__|__array_namespace|__dlpack|__deepcopy|__setstate|__getstate": "protocols",
    r"random\.(state|seed)|enable_compile|disable_compile|core\.(async_)?eval$": "states",
}


def read(name):
    """The lines of a table."""
    lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def parameters():
    """The draw of each parameter that has one in common."""
    return dict(line.split(" = ", 1) for line in read("parameters"))


def functions():
    """The draws of parameters by the function's name, or by "room.*"."""
    found = {}
    for line in read("functions"):
        name, _, rest = line.partition(": ")
        name = re.sub(r"\(.*\)", "", name)
        found.setdefault(name, dict(part.split("=", 1) for part in rest.split(" ")))
    return found


def layers():
    """(name, arguments of its constructor, arguments of its call), alternatives in lists."""
    found = []
    for line in read("layers"):
        name, _, rest = line.partition(":")
        made, given = rest.split(";;")
        found.append((name, made.split(" | "), given.split(" | ")))
    return found


def parts():
    """The alternatives for each name in braces."""
    found, name = {}, None
    for line in read("parts"):
        if line.startswith("  "):
            found[name].append(line[2:].replace("(nothing)", ""))
        else:
            name = line.removesuffix(":")
            found[name] = []
    return found


def signatures():
    """(module, name, parameters) of each line of signatures.txt that can be called."""
    module = ""
    for line in SIGNATURES.read_text().splitlines():
        if line.startswith("["):
            module = line.strip("[]")
        elif line and not line.startswith("#"):
            name, parenthesis, listed = line.partition("(")
            if parenthesis:
                yield module, name, listed.removesuffix(")")


def listed(text):
    """(name, kind, optional) of parameters in Python's syntax."""
    arguments = ast.parse(f"def f({text}): ...").body[0].args
    positional = [(a.arg, "place") for a in arguments.posonlyargs]
    positional += [(a.arg, "either") for a in arguments.args]
    required = len(positional) - len(arguments.defaults)
    found = [(*one, place >= required) for place, one in enumerate(positional)]
    if arguments.vararg:
        found.append((arguments.vararg.arg, "several", False))
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    found += [(a.arg, "name", default is not None) for a, default in named]
    return [one for one in found if one[0] not in ("stream", "self")]


def is_left(name):
    return any(re.search(pattern, name) for pattern in LEFT)


def targets():
    """(key, text of what is called, parameters, draws) of functions, methods, optimizers."""
    known, common, found = functions(), parameters(), []
    for module, name, text in signatures():
        room = re.sub(r"core\.|nn\.layers\.|nn\.(?=losses|init|utils)", "", module)
        key = name if name.startswith("array.") else f"{room}.{name}"
        is_class = module in ("nn", "optimizers") and name[0].isupper()
        if is_left(f"{module}.{name}") or (is_class and key not in known):
            continue  # layers and modules have tables of their own
        path = {"core": "mx", "upsample": "upsample", "losses": "nn.losses", "init": "nn.init"}
        path = path.get(room, f"mx.{room}" if module.startswith("core.") else module)
        draws = {**common, **known.get(f"{room}.*", {}), **known.get(key, {})}
        found.append((key, f"{path}.{name}", listed(text), draws))
    return found
