"""Read and write image files, with their depth, alpha and metadata."""
