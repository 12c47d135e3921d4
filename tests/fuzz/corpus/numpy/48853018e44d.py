# differs: gives True, expected ValueError: low is out of bounds for uint8
said = compare(lambda xp, a, b: within(xp, -128, 4294967295, 'uint8'), data('uint8', (16, 4), 311, 'small'), data('uint8', (16, 4), 87, 'special'), exact=True)
