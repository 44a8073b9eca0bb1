"""`frex cameras`: import, estimate, compare and preview the camera labels that training and evaluation use."""
