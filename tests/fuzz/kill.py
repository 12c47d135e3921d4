"""Kills a process at random moments of saves: the file is the old or the new one, whole. And reads
files while another process rewrites them: the old values, the new ones, or an error."""

import re

# How a file is written, its suffix, and how what it holds is read again, as numbers.
SAVES = (
    ("mx.save(path, VALUE)", ".npy"),
    ("mx.savez(path, a=VALUE, b=VALUE)", ".npz"),
    ("mx.savez_compressed(path, a=VALUE)", ".npz"),
    ("mx.save_safetensors(path, {'a': VALUE, 'b': VALUE})", ".safetensors"),
    ("mx.save_gguf(path, {'a': VALUE, 'b': VALUE}, {'k': 'v'})", ".gguf"),
    ("weights(VALUE).save_weights(path)", ".safetensors"),
    ("weights(VALUE).save_weights(path)", ".npz"),
)
# The parent saves version 0; children save versions 1, 2, ... until they are killed.
KILLED = """
import signal, time
def weights(value):
    module = nn.Module()
    module.a, module.b = value, value
    return module
def version(path):
    read = mx.load(path)
    read = list(read.values()) if isinstance(read, dict) else [read]
    values = np.concatenate([np.array(x).ravel() for x in read])
    if not (values == values[0]).all():
        raise Refusal(f"{{path}}: values of several versions")
    return values.size, float(values[0])
path = tempfile.mkdtemp() + "/file{suffix}"
def save(number):
    {save}
save(0)
size = version(path)[0]
said = None
for moment in {moments}:
    process = os.fork()
    if process == 0:
        for number in range(1, 1000):
            save(number)
        os._exit(0)
    time.sleep(moment)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    try:
        if version(path)[0] != size:
            raise Refusal("fewer values than were saved")
    except Exception as error:
        said = f"after {{moment}} s: {{type(error).__name__}}: {{error}}"
        break
    left = [name for name in os.listdir(os.path.dirname(path))]
    if len(left) > 200:
        said = f"{{len(left)}} files are left behind"
        break
    if len(left) > 1:
        for name in left:
            if name != os.path.basename(path):
                os.unlink(os.path.join(os.path.dirname(path), name))
"""
# A file is read lazily; between steps of the reading somebody rewrites, cuts or removes it.
READ = """
path = tempfile.mkdtemp() + "/file{suffix}"
def weights(value):
    module = nn.Module()
    module.a, module.b = value, value
    return module
def save(number):
    {save}
save(1)
content = pathlib.Path(path).read_bytes()
read = mx.load(path)
arrays_read = list(read.values()) if isinstance(read, dict) else [read]
{change}
said = None
for x in arrays_read:
    try:
        values = np.array(x)
    except (OSError, ValueError, RuntimeError):
        continue
    if not (values == 1).all():
        said = "other values than those of the file that was loaded"
"""
CHANGES = (
    "os.truncate(path, {cut})",
    "pathlib.Path(path).write_bytes(content[:{cut}])",
    "pathlib.Path(path).write_bytes(bytes(len(content)))",
    "os.unlink(path)",
    "save(2)",
    "{save}",
)


def fuzz(session):
    """Both in turns until the time is over."""
    random = session.random
    kills = 0
    while session.running():
        save, suffix = random.choice(SAVES)
        size = random.choice((10, 5_000, 200_000, 2_000_000))
        save = save.replace("VALUE", f"mx.full(({size},), number)")
        if random.random() < 0.6:
            moments = [round(random.uniform(0, 0.03), 5) for _ in range(40)]
            code = KILLED.format(save=save, suffix=suffix, moments=moments)
            kills += len(moments)
        else:
            change = random.choice(CHANGES)
            cut = random.choice((0, 8, 100, size, size * 2))
            change = change.format(
                cut=cut, save=re.sub("mx.full.*?number.", f"mx.zeros(({size},))", save)
            )
            code = READ.format(save=save, suffix=suffix, change=change)
        answer = session.run(code, 60)
        what = answer.get("said")
        if answer["end"] in ("crash", "hang", "memory") or answer.get("type") == "Refusal":
            what = f"{answer['end']} {answer.get('text', '')}"
        elif answer["end"] == "raised":
            what = f"raised {answer['type']}: {answer['text']}"
        if what:
            session.found(
                "kill", f"{suffix} {re.sub('.*: ', '', what)[:80]} {code.count('fork')}", code, what
            )
    print(f"kill: {kills} processes killed", flush=True)
