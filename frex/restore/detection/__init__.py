"""Where the faces are, and how they lie."""
