# hang: 
x = mx.ones((2,) * 32, mx.complex64)
consumed(copy.deepcopy, x)
