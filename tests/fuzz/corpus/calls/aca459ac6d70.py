# error: RuntimeError: multiply: the CPU runs this in another way
use(nn.losses.hinge_loss(mx.ones((1,) * 65, mx.bfloat16), mx.full((2, 5, 2), 2)))
