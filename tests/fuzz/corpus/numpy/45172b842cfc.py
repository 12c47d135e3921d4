# differs: raises OverflowError: the integer 18446744073709551616 does not fit in int64
said = compare(lambda xp, a, b: a / 18446744073709551616, data('int16', (64,), 746, 'special'), data('int16', (64,), 937, 'special'), bound=8)
