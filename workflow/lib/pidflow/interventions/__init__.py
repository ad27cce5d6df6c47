"""What is changed inside a model while it answers, and what becomes of the answer."""
