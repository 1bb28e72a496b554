"""The paper's method: pseudo-labels of target text, their filter and refinery, and the student."""
