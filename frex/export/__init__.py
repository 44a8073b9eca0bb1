"""`frex export`: write the restoration network as one `.onnx` or `.pt2` file, for programs that do not have FREx."""
