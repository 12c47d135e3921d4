# error: Refusal: dumps: MemoryError: contiguous: out of memory: 34359738368 bytes asked
x = mx.ones((4294967296,), mx.float64)
consumed(pickle.dumps, x)
