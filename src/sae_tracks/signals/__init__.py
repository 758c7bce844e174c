"""How features follow quantities along the genome, such as ATAC, ChIP or conservation."""
