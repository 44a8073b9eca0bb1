"""Training data: degradation, the data set, camera labels."""
