# crash: SIGSEGV
box = {'a': mx.random.normal((2, 2, 2, 2)).astype(mx.float32)}
call = mx.value_and_grad(functools.partial(mx.add, 1), emptied(float))
use(call(mx.random.normal((2, 1))))
box['a'] = -1
use(call(mx.random.normal((2, 1))))
