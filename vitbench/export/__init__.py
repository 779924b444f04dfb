"""Records for other programs: pandas, Parquet, pytest-benchmark, W&B and trackio."""
