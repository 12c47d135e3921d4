# crash: SIGSEGV
box = []
call = mx.vmap(lambda *a: mx.zeros((0,)), 1, box)
use(call(mx.arange(112).reshape((4, 7, 4))))
box.clear()
use(call(mx.arange(112).reshape((4, 7, 4))))
