"""Detect faces, choose among them, find their landmarks, and align them."""
