# differs: raises OverflowError: the integer 18446744073709551616 does not fit in uint64
said = compare(lambda xp, a, b: within(xp, 2, 18446744073709551616, 'uint64'), data('float16', (2,), 552, 'normal'), data('float16', (2,), 543, 'small'), exact=True)
