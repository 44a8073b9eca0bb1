"""Fast forms of the networks' operations for CPUs, without gradient."""
