"""Faster forms of the networks' operations for inference on CPUs, each equal to the plain operation up to rounding.

`rules.cpu_fast_path` says when they may be used: never for a gradient, a trace or a compiler. Each module has the fast form of one
operation; some add a function `is_faster`, which also says for which inputs it is worth it.
"""
