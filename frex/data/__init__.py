"""Training data: sources of face images, their camera labels and crops, the degradation, and the data set for BasicSR."""
