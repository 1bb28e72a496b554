"""Make trained pipelines smaller and faster: fewer word pieces, smaller numbers."""
