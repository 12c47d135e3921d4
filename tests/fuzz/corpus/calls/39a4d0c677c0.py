# memory: lists that share parts
use(mx.array(shared(list)))
