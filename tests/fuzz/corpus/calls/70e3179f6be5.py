# error: ValueError: not enough values to unpack (expected 2, got 1) quantized.py
use((nn.QQLinear(3, 3)).from_linear(nn.BatchNorm(3), bits=4, mode='full'))
