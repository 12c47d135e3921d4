# differs: inf ulp: [[-inf -inf -inf ... -inf inf -inf] [-inf -inf inf ... inf inf -inf] [ 
said = compare(lambda xp, a, b: floored(operator.floordiv, -inf, a), data('float16', (8, 8), 151, 'small'), data('float16', (8, 8), 296, 'special'), bound=8)
