# differs: values: [[ 7 0 18446744073709551615 ... 7 1 3] [ 0 0 255 ... 100 184467440737095
said = compare(
    lambda xp, a, b: updated_at(xp, a, [-1], 2, "add"),
    data("uint64", (4, 100), 162, "special"),
    data("uint64", (4, 100), 829, "special"),
    exact=True,
)
