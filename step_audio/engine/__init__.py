"""Language-model engines: ids in, ids out."""
