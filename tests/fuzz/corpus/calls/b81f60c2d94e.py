# hang: a sequence without an end
use(mx.grad(lambda *a: (mx.eval(*a), a[0].sum())[1], answering(object, "__getitem__", ())))
