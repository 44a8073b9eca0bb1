"""The run-time type check that tests put on every annotated function; an int passes where the annotation is float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
