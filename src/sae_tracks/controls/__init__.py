"""Control tests: whether another explanation accounts for the match of a feature and a concept."""
