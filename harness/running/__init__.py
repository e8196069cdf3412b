"""One run from experiment file to results folder: prepare, plan, translate, ask, record."""
