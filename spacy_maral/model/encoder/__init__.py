"""The transformer: windows of text, batches of word pieces, files and weights."""
