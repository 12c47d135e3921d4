# error: ValueError: not enough values to unpack (expected 4, got 0) positional_encoding.
use((nn.ALiBi()).__call__(mx.array(0), 4, mx.random.normal((5, 0, 2, 7)).astype(mx.uint16)))
