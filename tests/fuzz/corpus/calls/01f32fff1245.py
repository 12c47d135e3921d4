# error: TypeError: __next__(): incompatible function arguments. The following argument t
use((bare(mx.ArrayIterator)).__next__())
