"""Restored pictures compared with clean ones: the tables of the paper, how they came about, and how sure they are."""

from frex.evaluation.evaluating import Settings, evaluate
from frex.evaluation.exporting import to_csv, to_json
from frex.evaluation.report import to_markdown
from frex.evaluation.results import Evaluation
from frex.evaluation.tables import results_table

__all__ = ['Evaluation', 'Settings', 'evaluate', 'results_table', 'to_csv', 'to_json', 'to_markdown']
