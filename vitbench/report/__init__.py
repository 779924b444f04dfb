"""Reports: records become tables, plots and a page. Nothing here imports torch."""
