"""WavLM (Chen et al. 2022), written natively: configuration, model, checkpoints."""
