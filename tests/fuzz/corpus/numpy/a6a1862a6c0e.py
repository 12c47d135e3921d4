# differs: raises ValueError: the integer 4611686018427387903 does not fit in the array's t
said = compare(lambda xp, a, b: 4611686018427387903 < a, data('int16', (16, 1), 954, 'normal'), data('int16', (100,), 303, 'small'), bound=8)
