"""Features in sets of regions: peaks, genes, promoters."""
