"""The losses of training, one in each file; BasicSR's L1Loss, MSELoss and GANLoss are used as they are."""
