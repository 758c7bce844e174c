"""Is a match real? What the reported pairs of features and concepts are held against."""
