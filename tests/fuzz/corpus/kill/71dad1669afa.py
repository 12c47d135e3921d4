# kill: after 0.02381 s: ValueError: load_safetensors: /tmp/tmphw0brvc0/tmp1__5ok5q/file

import signal, time
def weights(value):
    module = nn.Module()
    module.a, module.b = value, value
    return module
def version(path):
    read = mx.load(path)
    values = np.concatenate([np.array(x).ravel() for x in (read.values() if isinstance(read, dict) else [read])])
    if not (values == values[0]).all():
        raise Refusal(f"{path}: values of several versions")
    return values.size, float(values[0])
path = tempfile.mkdtemp() + "/file.safetensors"
def save(number):
    weights(mx.full((2000000,), number)).save_weights(path)
save(0)
size = version(path)[0]
said = None
for moment in [0.02381, 0.00697, 0.00698, 0.00127, 0.02993, 0.02216, 0.02625, 0.01848, 0.00102, 0.00987, 0.01493, 0.00347, 0.02856, 0.01105, 0.00464, 0.02453, 0.00375, 0.02784, 0.01359, 0.01656, 0.01029, 0.01454, 0.00561, 0.00111, 0.02598, 0.00705, 0.02341, 0.00626, 0.02906, 0.02682, 0.02264, 0.02288, 0.01742, 0.02189, 0.00367, 0.01429, 0.02481, 0.00603, 0.0277, 0.02663]:
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
        said = f"after {moment} s: {type(error).__name__}: {error}"
        break
    left = [name for name in os.listdir(os.path.dirname(path))]
    if len(left) > 200:
        said = f"{len(left)} files are left behind"
        break
    if len(left) > 1:
        for name in left:
            if name != os.path.basename(path):
                os.unlink(os.path.join(os.path.dirname(path), name))
