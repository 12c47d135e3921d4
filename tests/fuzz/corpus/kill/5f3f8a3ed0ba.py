# kill: after 0.01318 s: ValueError: load: /tmp/tmphw0brvc0/tmpiteiqdvu/file.npz is not 

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
path = tempfile.mkdtemp() + "/file.npz"
def save(number):
    mx.savez(path, a=mx.full((5000,), number), b=mx.full((5000,), number))
save(0)
size = version(path)[0]
said = None
for moment in [0.01318, 0.01222, 0.02224, 0.00172, 0.00864, 0.0256, 0.01975, 0.00104, 0.00746, 0.01184, 0.02611, 0.01936, 0.00438, 0.00454, 0.02185, 0.00148, 0.00419, 0.01951, 0.02734, 0.01437, 0.02858, 0.02698, 0.01097, 0.00462, 0.01106, 0.02318, 0.01453, 0.02708, 0.01431, 0.00416, 0.01765, 0.00418, 0.02162, 0.01147, 0.00378, 0.02147, 0.00793, 0.00979, 0.00749, 0.02867]:
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
