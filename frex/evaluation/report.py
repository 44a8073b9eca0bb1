"""An evaluation as it is read."""

from frex.evaluation.footnotes import footnotes
from frex.evaluation.results import Evaluation
from frex.evaluation.tables import escaped, interval_table, results_table, yaw_tables


def to_markdown(evaluation: Evaluation) -> str:
    """All: results with footnotes, intervals, tables by |yaw|, protocol; it can be read as it stands, too."""
    parts = [
        f'## Results over {len(evaluation.names)} pictures',
        results_table(evaluation),
        '\n'.join(f'- {note}' for note in footnotes(evaluation)),
        '### Means with 95 % intervals',
        interval_table(evaluation),
        *yaw_tables(evaluation),
        '### Protocol',
        '\n'.join(f'- {escaped(topic)}: {escaped(text)}' for topic, text in evaluation.protocol.items()),
    ]
    return '\n\n'.join(filter(None, parts)) + '\n'
