# differs: gives True, expected ValueError: high is out of bounds for uint16
said = compare(lambda xp, a, b: within(xp, 1, 1099511627777, 'uint16'), data('uint8', (33, 100), 103, 'small'), data('uint8', (100,), 784, 'special'), exact=True)
