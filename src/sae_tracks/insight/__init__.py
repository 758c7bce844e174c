"""What a feature responds to, what it is called, and what it does in the model."""
