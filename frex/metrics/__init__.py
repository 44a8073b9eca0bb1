"""Metrics, registered with BasicSR. One that needs a whole set is a class: `add` each pair, then `value`."""
