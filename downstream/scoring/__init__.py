"""Chosen heads to scores: what each family reports, its interval, the level of chance, and the files of a test."""
