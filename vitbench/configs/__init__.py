"""Settings of the tasks other than training a classifier: one file and one section of a case each."""
