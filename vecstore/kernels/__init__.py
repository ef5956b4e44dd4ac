"""Numba loops, one topic a file; arrays in, arrays out, no checks."""
