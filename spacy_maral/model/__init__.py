"""What a span is, which class it has, and the component that writes it."""
