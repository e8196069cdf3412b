"""Scores as people read them: comparisons, tables, one example through every stage."""
