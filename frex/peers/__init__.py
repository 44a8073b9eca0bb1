"""`frex peers`: run several restoration methods, FREx and those that it is compared with, on the same faces and machine."""
