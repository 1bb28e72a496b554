"""A reader and a writer for each format of labelled data."""
