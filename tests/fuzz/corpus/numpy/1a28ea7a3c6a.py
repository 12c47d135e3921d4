# differs: raises TypeError: indexing: an index array must have integers or booleans, not f
said = compare(
    lambda xp, a, b: updated_at(xp, a, [], 3, "minimum"),
    data("float32", (7, 33), 650, "small"),
    data("float32", (33, 7), 919, "normal"),
    exact=True,
)
