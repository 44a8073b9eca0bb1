"""One loss, one file; those of BasicSR (L1Loss, GANLoss) are used as they are."""
