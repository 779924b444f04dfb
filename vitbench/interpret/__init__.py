"""What a transformer attends to: maps, where they come from, and how good they are."""
