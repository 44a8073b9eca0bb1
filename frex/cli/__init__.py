"""The command lines: they parse flags into typed options and call the function that does the work."""
