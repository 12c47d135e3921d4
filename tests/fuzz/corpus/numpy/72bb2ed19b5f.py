# differs: gives False, expected ValueError: low is out of bounds for uint32
said = compare(lambda xp, a, b: within(xp, -1, 0, 'uint32'), data('int32', (1, 3, 4), 38, 'special'), data('int32', (), 78, 'normal'), exact=True)
