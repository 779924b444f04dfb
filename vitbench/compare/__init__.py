"""Two stores of records against each other: verdicts, and a gate that ends in an exit code.

from vitbench.compare import compare_stores
"""

from vitbench.compare.findings import Finding
from vitbench.compare.gate import Gate, compare_records, compare_stores
from vitbench.compare.margins import Margin, parse_margin

__all__ = ["Finding", "Gate", "Margin", "compare_records", "compare_stores", "parse_margin"]
