"""Training of a teacher, and the training loop that teacher and student share."""
