# differs: raises ValueError: the integer -1 does not fit in the array's type uint16
said = compare(lambda xp, a, b: -1 == a, data('uint16', (5, 0), 266, 'small'), data('uint16', (5, 0), 740, 'small'), bound=8)
