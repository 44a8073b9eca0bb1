"""Other methods beside FREx: run on the same faces, on the same machine, one after the other."""
