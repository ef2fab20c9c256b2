"""The dual-codebook audio tokenizer: sound in, 120 ms token groups out."""
