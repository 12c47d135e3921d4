# leak: memory grows by 720 bytes each time
import gc
def resident():
    gc.collect()
    mx.clear_cache()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
path = tempfile.mkdtemp() + "/x"
x = mx.random.normal((9, 9))
mx.eval(x)
program = compile('mx.eval(mx.compile(lambda t: t.sum())(x))', "<program>", "exec")
def repeat(count):
    for _ in range(count):
        try:
            exec(program, dict(globals()))
        except Exception:
            pass
    return resident(), mx.get_active_memory()
repeat(3000 // 4)
marks = [repeat(3000) for _ in range(4)]
said = ""
for i, what in enumerate(("memory", "active memory")):
    grown = min(later[i] - before[i] for before, later in zip(marks, marks[1:])) / 3000
    if grown > 48:
        said += f"{what} grows by {grown:.0f} bytes each time "
