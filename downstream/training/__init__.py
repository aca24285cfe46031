"""Learning heads: the order of utterances, learners of one or many heads, the loop, snapshots to resume from."""
