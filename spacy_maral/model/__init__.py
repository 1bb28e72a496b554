"""The span model: candidate spans, their class scores, and the component that writes entities."""
