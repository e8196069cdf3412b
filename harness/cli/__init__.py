"""The command line: arguments in, one call, a table out."""
