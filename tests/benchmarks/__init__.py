"""Measurements of speed, memory and precision; each prints what it ran on. See README.md here."""
