"""Rows of datasets: files in JSON, JSON Lines, CSV and Parquet, folders of them, and datasets on the hub."""
