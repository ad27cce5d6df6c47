"""What estimators find where the truth is known, and what they provably miss."""
