"""Table 2 of the paper: FREx with one part taken away at a time, each trained with several seeds."""
