"""Everything that is learned from hidden states and scored."""
