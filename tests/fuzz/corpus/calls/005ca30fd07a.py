# hang: 
x = mx.broadcast_to(mx.array(2), (2,) * 33)
consumed(callable, x)
