# crash: SIGSEGV
use(nn.value_and_grad(1, tower(mx.vmap)))
