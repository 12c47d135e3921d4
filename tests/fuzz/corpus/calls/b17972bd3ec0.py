# error: Refusal: repr: ValueError: item: only an array with one element becomes a scalar
x = mx.full((5, 5, 5, 2, 0), True)
consumed(reprlib.repr, x)
