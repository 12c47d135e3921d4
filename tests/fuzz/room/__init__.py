"""What the fuzzers share: values, a process that runs programs, and what is done with findings."""
