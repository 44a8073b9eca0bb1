"""The run-time type check that tests put on every annotated function; an int is fine where a float is asked for."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
