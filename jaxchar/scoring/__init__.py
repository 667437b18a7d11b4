"""How well a model predicts a text, and what that is worth."""
