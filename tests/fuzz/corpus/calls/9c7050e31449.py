# error: Refusal: repr: AttributeError: 'array' object has no attribute 'typecode'
x = mx.random.normal((1,)).astype(mx.uint32)
consumed(reprlib.repr, x)
