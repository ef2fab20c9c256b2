"""Protocol versions. Inside, everything is GA; each other version is one file here."""
