# hang: Python's own loop over rows
threading.Timer(0.2, lambda: os.kill(os.getpid(), 2)).start()
nn.Tanh().update(1, verify=mx.zeros((2**40,)))
