# kill: crash SIGBUS

path = tempfile.mkdtemp() + "/file.safetensors"
def weights(value):
    module = nn.Module()
    module.a, module.b = value, value
    return module
def save(number):
    mx.save_safetensors(path, {'a': mx.full((200000,), number), 'b': mx.full((200000,), number)})
save(1)
content = pathlib.Path(path).read_bytes()
read = mx.load(path)
arrays_read = list(read.values()) if isinstance(read, dict) else [read]
pathlib.Path(path).write_bytes(content[:8])
said = None
for x in arrays_read:
    try:
        values = np.array(x)
    except (OSError, ValueError, RuntimeError):
        continue
    if not (values == 1).all():
        said = "other values than those of the file that was loaded"
