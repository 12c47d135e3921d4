# differs: 8.39e+06 ulp: [[-0. -0. 0.] [ 0. 0. 0.] [-0. -0. -0.]] (float32), expected [[-1.
said = compare(lambda xp, a, b: floored(operator.floordiv, a, inf), data('int8', (3, 3), 929, 'normal'), data('int8', (1,), 296, 'special'), bound=8)
