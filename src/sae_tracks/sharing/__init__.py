"""SAEs for others: a folder for the hub with its model card, and a benchmark whose rows anyone can submit."""
