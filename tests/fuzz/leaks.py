"""Repeats typical programs and random calls: neither the process nor the arrays may grow."""

from calls import drawn, written
from room.surface import targets

TYPICAL = (
    "x @ x.T", "mx.eval(x @ x.T)", "mx.eval(mx.grad(lambda t: (t * t).sum())(x))",
    "mx.eval(mx.vmap(mx.sin)(x))", "mx.compile(lambda t: t + 1)(x)",
    "mx.eval(mx.compile(lambda t: t.sum())(x))", "x.tolist()", "str(x)", "np.array(x)",
    "mx.array(np.ones(9))", "pickle.loads(pickle.dumps(x))",
    "memoryview(x + 0).release()", "np.from_dlpack(x + 0)",
    "x[1:3, ::2] + x[0]", "y = x + 0; y[0] = 1; mx.eval(y)",
    "mx.eval(x.at[mx.array([0, 0])].add(1.0))", "mx.random.normal((3,))",
    "mx.eval(mx.random.normal((3,)))", "mx.random.seed(1)", "mx.random.split(mx.random.key(1))",
    "mx.save(path + '.npy', x); mx.eval(mx.load(path + '.npy'))",
    "mx.savez(path + '.npz', x); mx.eval(mx.load(path + '.npz'))",
    "mx.save_safetensors(path + '.safetensors', {'a': x}); mx.load(path + '.safetensors')",
    "mx.save_gguf(path + '.gguf', {'a': x}, {'k': ['v']}); mx.load(path + '.gguf')",
    "nn.Linear(3, 4)(x[:, :3])", "mx.async_eval(x * 2)",
    "m = nn.Sequential(nn.Linear(9, 4)); nn.value_and_grad(m, lambda t: m(t).sum())(x)",
    "mx.linalg.inv(mx.eye(4))",
    "o = optimizers.Adam(0.1); p = {'a': x}; mx.eval(o.apply_gradients(p, p))",
    "class N: pass\nn = N(); n.n = n; n.x = x * 2", "mx.eval(mx.sort(x), mx.cumsum(x))",
    "f = []; f.append(mx.compile(lambda t: (f, t * 2)[1])); f[0](x)",
    "mx.explain(x + 1)",
    "try: mx.matmul(x, mx.ones(2))\nexcept ValueError: pass",
    "try: mx.grad(lambda t: 1 / 0)(x)\nexcept ZeroDivisionError: pass", "mx.checkpoint(mx.sin)(x)",
    "t = threading.Thread(target=lambda: mx.eval(x * 2)); t.start(); t.join()",
    "mx.eval(mx.conv1d(x[None], mx.ones((2, 3, 9))))", "utils.tree_flatten({'a': [x]})",
    "mx.einsum('ij,kj->ik', x, x)", "mx.metal.is_available()", "with mx.stream(mx.cpu): x + 1",
    "mx.eval(mx.custom_function(mx.sin)(x))",
)  # fmt: skip
PROGRAM = """
import gc, time
def resident():
    gc.collect()
    mx.clear_cache()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
path = tempfile.mkdtemp() + "/x"
x = mx.random.normal((9, 9))
mx.eval(x)
program = compile({program!r}, "<program>", "exec")
def repeat(count):
    for _ in range(count):
        try:
            exec(program, dict(globals()))
        except Exception:
            pass
    return resident(), mx.get_active_memory()
began = time.monotonic()
repeat(500)
speed = 500 / (time.monotonic() - began)
repeats = int(min(max(speed, 1000), 100_000))
marks = [repeat(repeats) for _ in range(4)]
said = ""
for i, what in enumerate(("memory", "active memory")):
    grown = min(later[i] - before[i] for before, later in zip(marks, marks[1:])) / repeats
    if grown > {growth}:
        said += f"{{what}} grows by {{grown:.0f}} bytes each time "
print(repeats)
"""
GROWTH = 48  # bytes a repetition, in each of three rounds


def fuzz(session):
    """Each typical program first, then random calls between them, a second for each round."""
    random = session.random
    groups = targets()
    counts = []
    order = random.sample(TYPICAL, len(TYPICAL))
    while session.running():
        if order or random.random() < 0.3:
            program = order.pop() if order else random.choice(TYPICAL)
        else:
            target, on, given, again = drawn(random, groups)
            if target.startswith(("mx.set", "mx.new")):
                continue
            program = written(target, on, given, again)
        code = PROGRAM.format(program=program, growth=GROWTH)
        answer = session.run(code, 120, 4 << 30)
        if answer["end"] in ("crash", "hang", "memory"):
            session.found(answer["end"], f"{answer.get('text')} {program}", code)
        if answer["end"] != "ok":
            continue
        counts.append(4 * int(answer["printed"].split()[-1]))
        if answer["said"]:
            session.found("leak", program, code, answer["said"])
    least, most = min(counts, default=0), max(counts, default=0)
    print(
        f"leaks: {sum(counts)} repetitions of {len(counts)} programs, {least} to {most} each",
        flush=True,
    )
