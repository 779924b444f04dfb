"""What a case can ask for: one file for each task."""
