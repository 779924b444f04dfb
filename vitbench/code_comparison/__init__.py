"""Two versions of the code in the same run, each in processes of its own.

from vitbench.code_comparison.comparison import compare_code
"""
