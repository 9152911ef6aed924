"""What came in and what was decided, in one folder of SQLite files."""
