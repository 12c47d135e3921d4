"""Cermet's benchmarks: `cermet-bench`, or `python -m cermet.bench`.

`cases` is the table of what is measured, `peers` the adaptors of the frameworks it is measured on,
`measure` the clock and `report` the tables, files and plots; `ab` compares two builds, `bars` holds
row programs to limits, and `__main__` is the command line.
"""
