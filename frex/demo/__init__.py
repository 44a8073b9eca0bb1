"""`frex demo`: restore two portraits with the small FREx, or train a tiny FREx on them with `--train`."""
