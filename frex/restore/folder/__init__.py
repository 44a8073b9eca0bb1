"""Restore folders of images: find inputs, plan results, run the pipeline, and write the report."""
