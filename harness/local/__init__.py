"""Models on this machine: the engines, and the checkpoints that they load."""
