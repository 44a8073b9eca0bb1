"""`frex synthesize`: render images of EG3D, the 3D prior, as additional training data with known cameras."""
