"""Training loops and losses for every trained part."""
