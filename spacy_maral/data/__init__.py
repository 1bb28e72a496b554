"""Files in, documents out: readers, label maps, conversion, span statistics."""
