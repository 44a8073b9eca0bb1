"""A training run, from its options to BasicSR's loop."""
