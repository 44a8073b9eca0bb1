"""FREx for programs that do not have FREx: the whole restoration network as one `.onnx` or `.pt2` file."""
