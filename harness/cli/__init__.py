"""The command line: arguments in, one call of the house, a table out."""
