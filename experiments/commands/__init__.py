"""What each command does, as a user sees it: progress, tables, files."""
