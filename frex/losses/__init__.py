"""The losses of training that are not BasicSR's; its L1Loss, MSELoss and GANLoss are used as they are."""
