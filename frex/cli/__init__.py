"""The commands: each parses its flags into typed options and calls the function that does the work."""
