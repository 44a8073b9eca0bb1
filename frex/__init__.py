"""FREx around its networks (`frex_arch`): training through BasicSR, data, weights, restoration. Importing it does no work."""

__version__ = '0.1.0'
