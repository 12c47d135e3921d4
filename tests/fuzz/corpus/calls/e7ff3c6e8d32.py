# error: SystemError: <nanobind.nb_method object at 0x7f045ad3a680> returned a result wit
box = [{'bias': 2, 'state': ('\ud800',), 'b.layers': 'ij,jk->ik'}, '00000000000000000000000000000000000000000000000000']
call = mx.compile(lambda *a: a, mx.random.normal((0, 0, 3)), (box, box))
use(call(mx.arange(0).reshape((0, 0, 3))))
box[0] = mx.random.normal((0, 0, 3))[::2]
use(call(mx.arange(0).reshape((0, 0, 3))))
