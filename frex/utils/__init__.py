"""What several rooms of FREx use and that knows nothing of faces: files, text, random order, signals."""
