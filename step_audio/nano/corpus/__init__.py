"""Machine-made speech that nano's parts learn from."""
