"""Compare other restoration methods with FREx: run them on the same faces, on the same machine, one after the other."""
