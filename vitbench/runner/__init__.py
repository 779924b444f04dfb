"""From a case to a record: run it, keep what it gave, go on with what was cut off."""
