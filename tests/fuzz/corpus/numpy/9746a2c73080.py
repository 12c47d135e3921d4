# differs: 1.02e+03 ulp: [[[[[ -0. 0.] [ 0. -inf] [ 0. 0.] ... [ inf inf] [ -5. -0.] [ -0. 
said = compare(lambda xp, a, b: floored(operator.floordiv, a, b), data('float16', (4, 5, 5, 7, 2), 130, 'small'), data('float16', (4, 5, 5, 7, 2), 33, 'special'), bound=8)
