"""Files that results are kept in: whole or absent, checked when read, and saying what they are about."""
