"""A run's folder, written and read back: lines, manifest, environment, scored cells."""
