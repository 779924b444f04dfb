"""Verbs of the `vitbench` command, one a file: `add` declares it, and what it does is imported
when it is called.
"""
