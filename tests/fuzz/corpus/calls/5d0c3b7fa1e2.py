# memory: a list as long as a number
use((nn.ALiBi()).create_alibi_slope(1267650600228229401496703205375))
