# kill: after 0.00554 s: ValueError: load: /tmp/tmphw0brvc0/tmpsekx4nq5/file.npy: not an

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
path = tempfile.mkdtemp() + "/file.npy"
def save(number):
    mx.save(path, mx.full((5000,), number))
save(0)
size = version(path)[0]
said = None
for moment in [0.00554, 0.01376, 0.01919, 0.02409, 0.01527, 0.00778, 0.01694, 0.0048, 0.00109, 0.02389, 0.00225, 0.0024, 0.02369, 0.01935, 0.02692, 0.02384, 0.00644, 0.00691, 0.01502, 0.02796, 0.0054, 0.00852, 0.02534, 0.00541, 0.02646, 0.00454, 0.01822, 0.0007, 0.02607, 0.02378, 0.00806, 0.01169, 0.01154, 0.01314, 0.00476, 0.01887, 0.0258, 0.02542, 0.00258, 0.02395]:
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
