"""One module a rule: paths and plain values in, files out."""
