"""The HTTP routes, one file or folder for each."""
