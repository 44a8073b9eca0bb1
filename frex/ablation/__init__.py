"""Table 2 of the paper: FREx with one part removed at a time, each variant trained with several seeds."""
