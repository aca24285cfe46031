"""Public corpora: each file reads one from its published layout, or from a copy on the Hugging Face hub."""
