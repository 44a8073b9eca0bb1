"""From faces to restored faces, and back into their image."""
