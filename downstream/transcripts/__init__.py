"""What is said: text as tokens, decoding, word errors."""
