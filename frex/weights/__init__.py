"""Files of weights: read without running code, loaded strictly."""
