"""Log lines that are no longer hot: days as Parquet files in a folder or bucket, written, looked up and read again."""
