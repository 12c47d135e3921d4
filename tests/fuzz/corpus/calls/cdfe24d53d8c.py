# hang: 
x = mx.ones((2,) * 33, mx.uint64)
consumed(pickle.dumps, x)
