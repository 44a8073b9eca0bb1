"""Score restored images against clean ones: the paper's tables with confidence intervals and the protocol that was followed."""

from frex.evaluation.evaluator import Settings, evaluate
from frex.evaluation.markdown import results_table, to_markdown
from frex.evaluation.results import Evaluation
from frex.evaluation.serialize import to_csv, to_json

__all__ = ['Evaluation', 'Settings', 'evaluate', 'results_table', 'to_csv', 'to_json', 'to_markdown']
