"""The transformer: windows of text, batches of pieces, files, weights."""
