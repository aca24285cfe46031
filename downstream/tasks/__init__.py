"""Families of tasks: what their heads compute and how their predictions are scored."""
