# kill: after 0.02019 s: ValueError: load: /tmp/tmphw0brvc0/tmpq66ivvl4/file.npy: cut sh

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
    mx.save(path, mx.full((2000000,), number))
save(0)
size = version(path)[0]
said = None
for moment in [0.02019, 0.0136, 0.01575, 0.02494, 0.01557, 0.01307, 0.01937, 0.00444, 0.02618, 0.01552, 0.00127, 0.01444, 0.02837, 0.02936, 0.01279, 0.00796, 0.02809, 0.00853, 0.00054, 0.00741, 0.01412, 0.02021, 0.00201, 0.01003, 0.02183, 0.01033, 0.00527, 0.02133, 0.0131, 0.02085, 0.01453, 0.02437, 0.01536, 0.02925, 0.02439, 0.02165, 0.01471, 0.01829, 0.0113, 0.00229]:
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
