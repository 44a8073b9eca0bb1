"""Files of weights: found, downloaded, read without running code, and loaded strictly."""
