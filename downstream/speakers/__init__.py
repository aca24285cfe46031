"""Who speaks: trials, their scores, error rates and the detection error tradeoff."""
