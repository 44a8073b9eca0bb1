"""Faster forms of the networks' operations on CPUs, where nothing is recorded for a gradient, a trace or a compiler.

`cpu_fast_path` in `rules` is the one predicate that says when they may be used. Each module holds the fast form of one operation, and
gives what the plain operation gives, up to rounding. Some add an `is_faster`, which also says for which inputs their form is worth it.
"""
