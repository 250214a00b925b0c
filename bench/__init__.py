"""Benchmarks: the operator and its rivals on the same control plane, in turns, watched from outside.

    python -m bench converge --n 100 --rounds 3

Not its business: whether what they do is right (`tests/api`); one test there holds the rivals' result against ours.
"""
