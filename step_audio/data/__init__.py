"""The data engine: text generation, synthesis, augmentation, packing."""
