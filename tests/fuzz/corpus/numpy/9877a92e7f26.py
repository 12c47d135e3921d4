# 256 ulp
said = compare(lambda xp, a, b: xp.clip(a, 1j, -32769), data('float16', (4, 4, 4, 4, 4), 937, 'special'), data('float16', (5, 7), 540, 'small'), bound=8)
