"""Role-play: cards of characters, and what of a card comes to the parts of a deployment."""
