"""The command line: a thin skin, one file a verb. Importing it must stay light (no torch)."""
