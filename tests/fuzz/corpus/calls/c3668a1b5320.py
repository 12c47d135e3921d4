# hang: 
use(optimizers.clip_grad_norm(mx.ones((1099511627776,), mx.float16)[::2], np.ones((), 'i4,f4')[()]))
