"""`frex web`: a page in the browser that restores photographs as `frex restore` does."""
