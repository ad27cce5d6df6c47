"""The checked configuration, and what a run expands to."""
