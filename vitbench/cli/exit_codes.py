"""Exit codes of the `vitbench` command; those of a comparison are in `vitbench.compare.gate`."""

FINE, FOUND, USAGE, DAMAGED, INTERRUPTED = 0, 1, 2, 13, 130
"""Nothing to say; a problem or a difference was found; wrong usage; damaged records; Ctrl-C."""
